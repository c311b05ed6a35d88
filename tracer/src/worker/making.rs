//! Making calls in a tracee's place, on what is held and was judged.

use picket_events::EventType;

use super::Worker;
use crate::decode::acts::Act;
use crate::decode::files::MADE;
use crate::decode::{Answer, Call, Located};
use crate::denials::{Denials, Subject, names};
use crate::openers::{self, Manner};
use crate::pin::{self, Entry, Pinned};
use crate::proc;
use crate::sys::acting::{self, Identity};
use crate::sys::{Errno, Result};

/// What a look at a call has come to.
pub(super) enum Found {
    /// A rule refuses it; what was held, where it was there.
    Denied(Box<(Subject, Option<Pinned>)>),
    /// It was made.
    Made(Answer),
}

/// Times that a name is looked at anew when something else has come there meanwhile.
const ATTEMPTS: usize = 8;

/// A call that is made in a tracee's place, or only judged.
struct Making<'a> {
    denials: &'a Denials,
    call: &'a Call<'a>,
    event: EventType,
    makes: bool,
}

impl Making<'_> {
    /// What a rule sees of a file.
    fn subject(&self, path: &[u8]) -> Subject {
        Subject {
            path: names(&self.call.process.root, path),
            ..Subject::default()
        }
    }

    /// Gives back what is held, unless a rule refuses the call.
    fn judge(
        &self,
        subject: Subject,
        pinned: Option<Pinned>,
    ) -> std::result::Result<Option<Pinned>, Found> {
        match self.denials.refuse(self.event, &subject, self.call.process) {
            true => Err(Found::Denied(Box::new((subject, pinned)))),
            false => Ok(pinned),
        }
    }

    /// Changes a name, unless a rule refuses it.
    fn of_name(&self, subject: Subject, make: impl FnOnce() -> Result<()>) -> Result<Found> {
        match self.judge(subject, None) {
            Err(denied) => Ok(denied),
            Ok(_) if self.makes => make().map(|()| DONE),
            Ok(_) => Ok(DONE),
        }
    }

    /// Changes a file that is held, unless a rule refuses it.
    fn of_file(
        &self,
        (subject, pinned): (Subject, Pinned),
        make: impl FnOnce(&Pinned) -> Result<()>,
    ) -> Result<Found> {
        match self.judge(subject, Some(pinned)) {
            Err(denied) => Ok(denied),
            Ok(Some(pinned)) if self.makes => make(&pinned).map(|()| DONE),
            Ok(_) => Ok(DONE),
        }
    }

    /// The file that a path leads to, and what a rule sees of it.
    fn file(&self, at: &Located) -> Result<(Subject, Pinned)> {
        let pinned = pin::file(&self.call.view(), at)?;
        Ok((self.subject(pinned.path()), pinned))
    }

    fn open(&self, (at, flags, mode): (&Located, u32, u32)) -> Result<Found> {
        const O_CREAT: u32 = 0o100;
        const O_EXCL: u32 = 0o200;
        let view = self.call.view();
        let subject = |path: &[u8]| Subject {
            flags,
            ..self.subject(path)
        };
        for _ in 0..ATTEMPTS {
            let mut pinned = match pin::file(&view, at) {
                Ok(pinned) => pinned,
                Err(Errno(libc::ENOENT)) if flags & O_CREAT != 0 => {
                    let entry = match pin::entry_to_make(&view, at) {
                        Err(Errno(libc::EEXIST)) => continue,
                        other => other?,
                    };
                    if let Err(denied) = self.judge(subject(&entry.path()), None) {
                        return Ok(denied);
                    }
                    if !self.makes {
                        return Ok(DONE);
                    }
                    match make(&entry, flags | O_EXCL, mode) {
                        // Somebody else was faster: theirs is what is opened then.
                        Err(Errno(libc::EEXIST)) if flags & O_EXCL == 0 => continue,
                        result => return result.map(descriptor),
                    }
                }
                Err(errno) => return Err(errno),
            };
            let mut manner = openers::manner(&pinned, flags)?;
            if manner == Manner::Terminal {
                pinned = terminal_of(self.call)?;
                manner = Manner::Apart;
            }
            let Some(pinned) = (match self.judge(subject(pinned.path()), Some(pinned)) {
                Err(denied) => return Ok(denied),
                Ok(pinned) => pinned,
            }) else {
                return Err(Errno(libc::EPERM));
            };
            if flags & (O_CREAT | O_EXCL) == O_CREAT | O_EXCL {
                return Err(Errno(libc::EEXIST));
            }
            if !self.makes {
                return Ok(DONE);
            }
            let is_directory = pinned.metadata()?.mode & libc::S_IFMT == libc::S_IFDIR;
            if is_directory && flags & O_CREAT != 0 {
                return Err(Errno(libc::EISDIR));
            }
            return match manner {
                Manner::Not(errno) => Err(Errno(errno)),
                Manner::AtOnce => openers::open(&pinned, flags, mode).map(descriptor),
                _ => Ok(Found::Made(Answer::Later {
                    pinned,
                    flags,
                    identity: Identity::default(),
                })),
            };
        }
        Err(Errno(libc::EAGAIN))
    }

    fn link(&self, target: &Located, to: &Located) -> Result<Found> {
        let view = self.call.view();
        let to = pin::entry(&view, to)?;
        let destination = names(view.root, &to.path());
        let place = (to.directory.file(), &*to.name);
        if target.follow || target.descriptor.is_some() {
            let (mut subject, pinned) = self.file(target)?;
            subject.destination = destination;
            return self.of_file((subject, pinned), |pinned| {
                acting::link_at((None, &pinned.magic_path()), place)
            });
        }
        let from = pin::entry(&view, target)?;
        let subject = Subject {
            destination,
            ..self.subject(&from.path())
        };
        self.of_name(subject, || {
            acting::link_at((Some(from.directory.file()), &from.name), place)
        })
    }
}

/// A call that gives no more than that it was made.
const DONE: Found = Found::Made(Answer::Value(0));

impl Worker<'_> {
    /// Holds what an act is about, judges it, and, where it `makes` it, makes it: as the caller,
    /// whose identity we have taken on.
    pub(super) fn carry_out(
        &self,
        call: &Call<'_>,
        event: EventType,
        act: &Act,
        umask: u32,
        makes: bool,
    ) -> Result<Found> {
        let view = call.view();
        let making = Making {
            denials: &self.denials,
            call,
            event,
            makes,
        };
        match act {
            Act::Open { at, flags, mode } => making.open((at, *flags, mode & !umask)),
            Act::Truncate { at, length } => {
                let (mut subject, pinned) = making.file(at)?;
                subject.flags = (libc::O_WRONLY | libc::O_TRUNC) as u32;
                making.of_file((subject, pinned), |pinned| {
                    acting::truncate(&pinned.magic_path(), *length)
                })
            }
            Act::Chmod { at, mode } => making.of_file(making.file(at)?, |pinned| {
                acting::change_mode(&pinned.magic_path(), *mode)
            }),
            Act::Chown { at, uid, gid } => making.of_file(making.file(at)?, |pinned| {
                acting::change_owner(pinned.file(), *uid, *gid)
            }),
            Act::Unlink { at, flags } => {
                let entry = pin::entry(&view, at)?;
                making.of_name(making.subject(&entry.path()), || {
                    acting::unlink_at(entry.directory.file(), &entry.name, *flags)
                })
            }
            Act::Mkdir { at, mode } => {
                let entry = pin::entry(&view, at)?;
                making.of_name(making.subject(&entry.path()), || {
                    acting::mkdir_at(entry.directory.file(), &entry.name, mode & !umask)
                })
            }
            Act::Make { at, mode, device } => {
                let entry = pin::entry(&view, at)?;
                let subject = Subject {
                    flags: MADE,
                    ..making.subject(&entry.path())
                };
                making.of_name(subject, || {
                    let place = (entry.directory.file(), &*entry.name);
                    acting::make_at(place, mode & !umask, *device)
                })
            }
            Act::Rename { from, to, flags } => {
                let (from, to) = (pin::entry(&view, from)?, pin::entry(&view, to)?);
                let subject = Subject {
                    destination: names(view.root, &to.path()),
                    ..making.subject(&from.path())
                };
                making.of_name(subject, || {
                    let place = (to.directory.file(), &*to.name);
                    acting::rename_at((from.directory.file(), &from.name), place, *flags)
                })
            }
            Act::Link { target, to } => making.link(target, to),
            Act::Symlink { text, at } => {
                let entry = pin::entry(&view, at)?;
                let target = picket_events::text::from_bytes(text.as_bytes());
                let subject = Subject {
                    path: [target.clone(), target],
                    destination: names(view.root, &entry.path()),
                    ..Subject::default()
                };
                making.of_name(subject, || {
                    acting::symlink_at(text, entry.directory.file(), &entry.name)
                })
            }
        }
    }
}

fn descriptor(file: std::os::fd::OwnedFd) -> Found {
    Found::Made(Answer::Descriptor {
        file,
        close_on_exec: false,
        left: None,
    })
}

fn make(entry: &Entry, flags: u32, mode: u32) -> Result<std::os::fd::OwnedFd> {
    let flags = flags as i32 | libc::O_NOFOLLOW;
    acting::open_at(entry.directory.file(), &entry.name, flags, mode)
}

/// The caller's controlling terminal.
fn terminal_of(call: &Call<'_>) -> Result<Pinned> {
    let none = Errno(libc::ENXIO);
    let stat = proc::stat(call.process.pid).map_err(|_| none)?;
    let name = proc::terminal_name(stat.terminal);
    if name.is_empty() {
        return Err(none);
    }
    let at = Located {
        path: call
            .process
            .root
            .unstripped(format!("/dev/{name}").as_bytes()),
        descriptor: None,
        follow: true,
        fault: None,
        below: None,
    };
    let pinned = pin::file(&call.view(), &at).map_err(|_| none)?;
    let (major, minor) = acting::device_of(pinned.file())?;
    let device = (minor & 0xff) | major << 8 | (minor & !0xff) << 12;
    match device == stat.terminal {
        true => Ok(pinned),
        false => Err(none),
    }
}
