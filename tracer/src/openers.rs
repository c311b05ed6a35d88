//! Opens that may block (a FIFO waits for its other end, a terminal for its line), made in a
//! tracee's place: each in a thread of its own, so that the worker goes on.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use crate::pin::Pinned;
use crate::sys::acting::{self, Identity};
use crate::sys::shared::{BLOCKED_MAX, Board};
use crate::sys::{Result, files, poll, process, signals};

/// Stack of a thread that opens: it calls little.
const STACK: usize = 64 * 1024;
/// Time between looks at those who wait, milliseconds.
const LOOK: u64 = 50;

/// An open that is under way.
#[derive(Debug)]
struct Waiting<T> {
    tid: u32,
    /// Thread of ours that opens; 0 until it has told.
    opener: i32,
    /// Place on the board.
    place: usize,
    /// Its caller was answered: what is opened is closed again.
    is_over: bool,
    subject: T,
}

enum Told {
    Began(u64, i32),
    Ended(u64, Result<OwnedFd>),
}

/// The opens that are under way, by notification.
#[derive(Debug)]
pub(crate) struct Openers<T> {
    waiting: HashMap<u64, Waiting<T>>,
    told: Receiver<Told>,
    tell: SyncSender<Told>,
    ready: OwnedFd,
    /// Heard of, but not yet asked for.
    ended: Vec<Opened<T>>,
    due: u64,
}

/// An open that has ended.
#[derive(Debug)]
pub(crate) struct Opened<T> {
    /// The notification that waits for it.
    pub(crate) id: u64,
    pub(crate) subject: T,
    pub(crate) result: Result<OwnedFd>,
    place: usize,
}

impl<T> Opened<T> {
    /// Its caller was answered.
    pub(crate) fn answered(&self, board: &Board) {
        board.blocked[self.place].store(0, Ordering::Release);
    }
}

impl<T> Openers<T> {
    /// Nothing is under way; `None` where there can be nothing.
    pub(crate) fn new() -> Option<Self> {
        let ready = poll::event().ok()?;
        let (tell, told) = sync_channel(2 * BLOCKED_MAX + 2);
        signals::interrupt_by(signals::INTERRUPT);
        Some(Self {
            waiting: HashMap::new(),
            told,
            tell,
            ready,
            ended: Vec::new(),
            due: 0,
        })
    }

    /// Readable when something has been opened.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.ready.as_fd()
    }

    /// Begins to open what is held for the thread of a notification. False where too many are
    /// under way, or there can be no thread.
    pub(crate) fn begin(
        &mut self,
        board: &Board,
        (id, tid): (u64, u32),
        (pinned, flags): (Pinned, i32),
        identity: Identity,
        subject: T,
    ) -> bool {
        let free = |place: &usize| board.blocked[*place].load(Ordering::Acquire) == 0;
        let Some(place) = (0..BLOCKED_MAX).find(free) else {
            return false;
        };
        let (Ok(ready), tell) = (self.ready.try_clone(), self.tell.clone()) else {
            return false;
        };
        let open = move || {
            signals::unblock(signals::INTERRUPT);
            // The other end is gone only with the worker.
            let _ = tell.send(Told::Began(id, process::own_tid()));
            let opened = acting::with_identity(&identity, || {
                files::open(&pinned.magic_path(), flags | libc::O_NOCTTY, 0)
            });
            let _ = tell.send(Told::Ended(id, opened.and_then(|opened| opened)));
            poll::notify(ready.as_fd());
        };
        let thread = std::thread::Builder::new().stack_size(STACK).spawn(open);
        if thread.is_err() {
            return false;
        }
        board.blocked[place].store(id, Ordering::Release);
        let waiting = Waiting {
            tid,
            opener: 0,
            place,
            is_over: false,
            subject,
        };
        self.waiting.insert(id, waiting);
        self.due = poll::monotonic_ms() + LOOK;
        true
    }

    /// When to look at those who wait (milliseconds, monotonic).
    pub(crate) fn due(&self) -> Option<u64> {
        (!self.waiting.is_empty()).then_some(self.due)
    }

    /// What has ended since the last call; [`Opened::answered`] is to be called for each.
    pub(crate) fn ended(&mut self) -> Vec<Opened<T>> {
        poll::drain(self.ready.as_fd());
        self.hear();
        std::mem::take(&mut self.ended)
    }

    /// Takes in what the threads have told.
    fn hear(&mut self) {
        while let Ok(told) = self.told.try_recv() {
            match told {
                Told::Began(id, opener) => {
                    if let Some(waiting) = self.waiting.get_mut(&id) {
                        waiting.opener = opener;
                    }
                }
                Told::Ended(id, result) => {
                    if let Some(waiting) = self.waiting.remove(&id)
                        && !waiting.is_over
                    {
                        self.ended.push(Opened {
                            id,
                            subject: waiting.subject,
                            result,
                            place: waiting.place,
                        });
                    }
                }
            }
        }
    }

    /// Gives up what nobody waits for any more; `is_wanted` says whether a notification still
    /// waits, and should.
    pub(crate) fn look(&mut self, board: &Board, mut is_wanted: impl FnMut(u64, u32) -> bool) {
        let now = poll::monotonic_ms();
        if self.due().is_none_or(|due| now < due) {
            return;
        }
        self.due = now + LOOK;
        self.hear();
        for (id, waiting) in &mut self.waiting {
            if !waiting.is_over && !is_wanted(*id, waiting.tid) {
                waiting.is_over = true;
                board.blocked[waiting.place].store(0, Ordering::Release);
            }
            // Again and again: it may not have begun to wait when it was sent the last one.
            if waiting.is_over && waiting.opener != 0 {
                process::signal_thread(waiting.opener, signals::INTERRUPT);
            }
        }
    }
}

/// How a file is to be opened for a tracee.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// At once: it cannot block.
    AtOnce,
    /// In a thread of its own.
    Apart,
    /// Not at all, for this errno.
    Not(i32),
    /// The controlling terminal of the caller, whichever that is.
    Terminal,
}

/// Judges by what is held, without opening it.
pub(crate) fn manner(pinned: &Pinned, flags: u32) -> Result<Manner> {
    let kind = pinned.metadata()?.mode & libc::S_IFMT;
    if flags & libc::O_PATH as u32 != 0 {
        return Ok(Manner::AtOnce);
    }
    Ok(match kind {
        libc::S_IFREG | libc::S_IFDIR => Manner::AtOnce,
        libc::S_IFLNK => Manner::Not(libc::ELOOP),
        libc::S_IFSOCK => Manner::Not(libc::ENXIO),
        libc::S_IFCHR => match acting::device_of(pinned.file())? {
            (MEMORY_DEVICES, _) => Manner::AtOnce,
            (TERMINAL_DEVICES, 0) => Manner::Terminal,
            _ => Manner::Apart,
        },
        _ => Manner::Apart,
    })
}

/// `/dev/null`, `/dev/zero`, `/dev/urandom` and the like.
const MEMORY_DEVICES: u32 = 1;
/// `/dev/tty`, `/dev/console`, `/dev/ptmx`.
const TERMINAL_DEVICES: u32 = 5;

/// Opens what is held, in the tracee's place, where that cannot block.
pub(crate) fn open(pinned: &Pinned, flags: u32, mode: u32) -> Result<OwnedFd> {
    const MAKING: u32 = 0o100 | 0o200; // O_CREAT, O_EXCL
    let flags = (flags & !MAKING) as i32 & !libc::O_NOFOLLOW | libc::O_NOCTTY;
    files::open(&pinned.magic_path(), flags, mode)
}
