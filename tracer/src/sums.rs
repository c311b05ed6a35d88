//! Sums of files for the agent, which in a pod cannot read them itself.
//!
//! A path proves nothing: what is opened counts only when it is the very file that is asked for, by
//! device, inode and time of its last change. Reading can block for as long as a file system
//! likes, so that a thread does it, after everything else in the container, and one file after
//! the other. What is more than it can do in time is refused, and the answer says so.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use picket_events::Credentials;
use picket_events::wire::{SumFault, SumRequest, Summed, Sums};
use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::proc;
use crate::sys::{Errno, files, poll, process};

/// Files that may wait for their turn.
const MOST_WAITING: usize = 64;
/// Most files that are read within [`PERIOD`].
const MOST_IN_PERIOD: u32 = 256;
/// Milliseconds.
const PERIOD: u64 = 10_000;
/// Most that is read of a file, whatever the agent asks for: 64 MiB.
const MOST_READ: u64 = 64 << 20;
/// How long reading a file may take, milliseconds.
const PATIENCE: u64 = 5_000;
const CHUNK: usize = 64 * 1024;
const STACK: usize = 128 * 1024;

/// A request, with the ids of the process that the file can be read through.
struct Job {
    request: SumRequest,
    credentials: Credentials,
}

/// Sends files to the thread that reads them.
#[derive(Debug)]
pub(crate) struct Summing {
    jobs: SyncSender<Job>,
    answers: Receiver<Summed>,
    /// Tells that there is an answer.
    ready: OwnedFd,
    period_began: u64,
    in_period: u32,
    open: usize,
}

impl Summing {
    /// Starts the thread; `None` where there can be none.
    pub(crate) fn start() -> Option<Self> {
        let ready = poll::event().ok()?;
        let tell = ready.try_clone().ok()?;
        let (jobs, queue) = sync_channel::<Job>(MOST_WAITING);
        let (answer, answers) = sync_channel(MOST_WAITING + 1);
        std::thread::Builder::new()
            .stack_size(STACK)
            .spawn(move || {
                process::prefer_others();
                for job in queue {
                    let summed = Summed {
                        request: job.request.request,
                        result: sum(&job.request, &job.credentials),
                    };
                    if answer.send(summed).is_err() {
                        return;
                    }
                    poll::notify(tell.as_fd());
                }
            })
            .ok()?;
        Some(Self {
            jobs,
            answers,
            ready,
            period_began: 0,
            in_period: 0,
            open: 0,
        })
    }

    /// Readable when there are answers.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.ready.as_fd()
    }

    /// True while answers are still to come.
    pub(crate) fn is_busy(&self) -> bool {
        self.open > 0
    }

    /// Takes a request on, or gives the answer that it cannot be.
    pub(crate) fn ask(&mut self, request: SumRequest, credentials: Credentials) -> Option<Summed> {
        let number = request.request;
        let now = poll::monotonic_ms();
        if now.saturating_sub(self.period_began) >= PERIOD {
            self.period_began = now;
            self.in_period = 0;
        }
        let job = Job {
            request,
            credentials,
        };
        if self.in_period < MOST_IN_PERIOD && self.jobs.try_send(job).is_ok() {
            self.in_period += 1;
            self.open += 1;
            return None;
        }
        Some(Summed {
            request: number,
            result: Err(SumFault::Busy),
        })
    }

    /// The answers that are there.
    pub(crate) fn answers(&mut self) -> Vec<Summed> {
        poll::drain(self.ready.as_fd());
        let answers: Vec<Summed> = self.answers.try_iter().collect();
        self.open = self.open.saturating_sub(answers.len());
        answers
    }
}

/// Finds the file and reads it.
fn sum(request: &SumRequest, credentials: &Credentials) -> Result<Sums, SumFault> {
    let mut fault = SumFault::OutOfReach;
    for path in places(request) {
        match proc::as_tracee(credentials, || look(&path, request)) {
            Ok(Look::Open(file)) => return read(file.as_fd(), request),
            Ok(Look::NotRegular) => return Err(SumFault::NotRegular),
            Ok(Look::Another) | Err(Errno(libc::ENOENT | libc::ENOTDIR | libc::ESRCH)) => {}
            Err(_) => fault = SumFault::Unreadable,
        }
    }
    Err(fault)
}

/// Where the file may be: what the process runs, its path in the process's root, and in ours.
fn places(request: &SumRequest) -> impl Iterator<Item = CString> {
    let path = &request.path;
    let is_path = path.starts_with('/');
    let running = format!("/proc/{}/exe", request.pid);
    let rooted = is_path.then(|| format!("/proc/{}/root{path}", request.pid));
    let plain = is_path.then(|| path.clone());
    [Some(running), rooted, plain]
        .into_iter()
        .flatten()
        .filter_map(|path| CString::new(path).ok())
}

/// What a path leads to.
enum Look {
    /// The very file.
    Open(OwnedFd),
    /// The very file, of a kind that is not read.
    NotRegular,
    /// Another file, or the same one in another state.
    Another,
}

/// Opens a path if it leads to the very file. Looked at before it is opened: opening a device
/// or a pipe can do things.
fn look(path: &CStr, request: &SumRequest) -> crate::sys::Result<Look> {
    let looked_at = files::metadata(files::AT_FDCWD, path, true)?;
    if !is_the_file(&looked_at, request) {
        return Ok(Look::Another);
    }
    if looked_at.mode & libc::S_IFMT != libc::S_IFREG {
        return Ok(Look::NotRegular);
    }
    let file = files::open(path, libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY, 0)?;
    let opened = files::metadata(file.as_raw_fd(), c"", false)?;
    Ok(match is_the_file(&opened, request) {
        true => Look::Open(file),
        false => Look::Another,
    })
}

fn is_the_file(metadata: &files::Metadata, request: &SumRequest) -> bool {
    (metadata.device, metadata.inode, metadata.change_time)
        == (request.device, request.inode, request.change_time)
}

fn read(file: BorrowedFd<'_>, request: &SumRequest) -> Result<Sums, SumFault> {
    let limit = request.limit.min(MOST_READ);
    let begun = poll::monotonic_ms();
    let (mut sha256, mut sha1) = (Sha256::new(), Sha1::new());
    let mut buffer = vec![0; CHUNK];
    let mut total = 0;
    loop {
        let length = match files::read_at(file, &mut buffer, total) {
            Ok(0) => break,
            Ok(length) => length,
            Err(Errno(libc::EINTR)) => continue,
            Err(_) => return Err(SumFault::Unreadable),
        };
        // It may grow while it is read.
        total += length as u64;
        if total > limit {
            return Err(SumFault::TooLarge);
        }
        if poll::monotonic_ms().saturating_sub(begun) > PATIENCE {
            return Err(SumFault::TooSlow);
        }
        sha256.update(&buffer[..length]);
        sha1.update(&buffer[..length]);
    }
    Ok(Sums {
        sha256: sha256.finalize().into(),
        sha1: sha1.finalize().into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(path: &std::path::Path) -> SumRequest {
        let path = CString::new(path.to_str().unwrap()).unwrap();
        let metadata = files::metadata(files::AT_FDCWD, &path, true).unwrap();
        SumRequest {
            request: 7,
            pid: std::process::id(),
            path: path.into_string().unwrap(),
            device: metadata.device,
            inode: metadata.inode,
            change_time: metadata.change_time,
            limit: 1 << 20,
        }
    }

    fn sum_of(request: &SumRequest) -> Result<Sums, SumFault> {
        sum(request, &Credentials::default())
    }

    fn file(content: &[u8]) -> std::path::PathBuf {
        let number = FILES.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("picket-sums-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    static FILES: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);

    #[test]
    fn a_file_has_the_sums_that_others_compute() {
        let path = file(b"abc");
        let sums = sum_of(&request(&path)).unwrap();
        assert_eq!(sums.sha256[..4], [0xba, 0x78, 0x16, 0xbf]);
        assert_eq!(sums.sha1[..4], [0xa9, 0x99, 0x3e, 0x36]);
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn only_the_very_file_within_the_limit_is_read() {
        let path = file(&[0; 100]);
        let asked = request(&path);
        let changed = SumRequest {
            change_time: 5,
            ..asked.clone()
        };
        assert_eq!(sum_of(&changed), Err(SumFault::OutOfReach));
        let short = SumRequest {
            limit: 99,
            ..asked.clone()
        };
        assert_eq!(sum_of(&short), Err(SumFault::TooLarge));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(sum_of(&asked), Err(SumFault::OutOfReach));
        let folder = request(&std::env::temp_dir());
        assert_eq!(sum_of(&folder), Err(SumFault::NotRegular));
    }

    #[test]
    fn what_a_process_runs_is_read_even_where_it_has_no_path() {
        let mut asked = request(&std::env::current_exe().unwrap());
        asked.path.clear();
        asked.limit = 1 << 30;
        let metadata = std::fs::metadata(std::env::current_exe().unwrap()).unwrap();
        match metadata.len() <= MOST_READ {
            true => assert!(sum_of(&asked).is_ok()),
            false => assert_eq!(sum_of(&asked), Err(SumFault::TooLarge)),
        }
    }

    #[test]
    fn the_thread_answers_and_refuses_what_is_too_much() {
        let path = file(b"abc");
        let mut summing = Summing::start().unwrap();
        let mut refused = 0;
        for number in 0..MOST_IN_PERIOD + 10 {
            let asked = SumRequest {
                request: number.into(),
                ..request(&path)
            };
            if let Some(answer) = summing.ask(asked, Credentials::default()) {
                assert_eq!(answer.result, Err(SumFault::Busy));
                refused += 1;
            }
        }
        assert!(refused >= 10);
        let mut answered = 0;
        while summing.is_busy() {
            let answers = summing.answers();
            assert!(answers.iter().all(|answer| answer.result.is_ok()));
            answered += answers.len() as u32;
            std::thread::yield_now();
        }
        assert_eq!(answered + refused, MOST_IN_PERIOD + 10);
        std::fs::remove_file(path).unwrap();
    }
}
