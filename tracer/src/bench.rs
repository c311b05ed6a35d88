//! What the benchmarks of `tests/bench` need of the tracer's insides.

use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::{AsFd, IntoRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use picket_events::wire::{Engine, Hello, ToAgent, VERSION};
use picket_events::{Event, EventKind, File, Image, Interest, Outcome, Process};

use crate::sys::poll::{Direct, Poller, Space};
use crate::sys::process::Side;
use crate::sys::seccomp::{RETURN_ALLOW, RETURN_USER_NOTIF};
use crate::sys::shared::{Board, Install};
use crate::sys::{Errno, poll, process, seccomp};
use crate::table::{Abi, rows};
use crate::transport::{Link, Transport};
use crate::worker::waking::Waking;
use crate::{filter, launch, start};

/// Runs a command under the filter of an interest, changed to let every call pass: what the
/// filter itself costs. Returns only on failure.
pub fn filter_only(interest: &Interest, command: &[OsString]) -> ExitCode {
    let program = filter::compile(interest, filter::Ours::default(), RETURN_ALLOW);
    match start::install(&program, false) {
        // Its listener hears of nothing, and is closed by the exec.
        Ok(_listener) => ExitCode::from(launch::execute(command) as u8),
        Err(errno) => {
            eprintln!("picket-tracer: seccomp failed: {errno}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a command under the filter of an interest behind a tracer that lets every call run and does
/// nothing else: what the stops themselves cost, whoever makes them, on this kernel or on those
/// before 5.19. Returns only on failure or when the last process is gone.
pub fn stops_only(interest: &Interest, like_old_kernels: bool, command: &[OsString]) -> ExitCode {
    match stop_and_go(interest, like_old_kernels, command) {
        Ok(code) => ExitCode::from(code),
        Err(errno) => {
            eprintln!("picket-tracer: cannot stop for calls: {errno}");
            ExitCode::FAILURE
        }
    }
}

fn stop_and_go(
    interest: &Interest,
    like_old_kernels: bool,
    command: &[OsString],
) -> Result<u8, Errno> {
    let program = filter::compile(interest, filter::Ours::default(), RETURN_USER_NOTIF);
    let board = Board::map()?;
    if let Side::Child = process::fork(true)? {
        let outcome = match start::install(&program, like_old_kernels) {
            Ok(listener) => Install::Installed(listener.into_raw_fd()),
            Err(errno) => Install::Failed(errno.0),
        };
        let _ = process::unshare_files();
        board.decide(outcome);
        process::exit(launch::execute(command));
    }
    while board.install() == Install::Undecided {
        board.await_install();
    }
    let listener = match board.install() {
        Install::Installed(listener) => process::adopt(listener),
        Install::Failed(errno) => return Err(Errno(errno)),
        Install::Undecided => return Err(Errno(libc::ECHILD)),
    };
    process::unshare_files()?;
    if !like_old_kernels {
        process::prefer_short_turns();
    }
    let listener = listener.as_fd();
    let mut waking = Waking::new(Some(listener).filter(|_| !like_old_kernels));
    let poller = Poller::new()?;
    let mut space = Space::new();
    loop {
        let asleep_at = poll::monotonic();
        let (call, ..) = poller.wait_with(Some(listener), None, &mut space, -1);
        waking.waited(poll::monotonic().saturating_sub(asleep_at));
        let slot = board.slot();
        match call {
            Direct::Readable if seccomp::receive(listener, slot).is_ok() => {
                let (id, tid) = (slot.id, slot.pid);
                // One that fails belongs to a thread that is gone.
                let _ = waking.answer(listener, tid, || seccomp::answer_continue(listener, id));
            }
            Direct::HungUp => break,
            Direct::Readable | Direct::Nothing => {}
        }
    }
    let ended = process::await_change().ok_or(Errno(libc::ECHILD))?;
    let code = match ended.status & 0x7f {
        0 => ended.status >> 8,
        signal => 128 + signal,
    };
    Ok(code as u8)
}

/// Calls of the native ABI that the filter of an interest stops for whatever their arguments:
/// what another tracer, which does not look at arguments in its filter, can be asked to trace
/// alike.
pub fn unconditional_calls(interest: &Interest) -> Vec<&'static str> {
    rows()
        .filter(|row| row.is_active(interest) && row.number(Abi::NATIVE[0]).is_some())
        .filter(|row| row.is_unconditional(interest))
        .map(|row| row.name)
        .collect()
}

/// What became of a flood of events.
#[derive(Debug, Clone, Copy)]
pub struct Flood {
    /// Events made.
    pub events: u64,
    /// Events that did not fit the buffer.
    pub dropped: u64,
    /// Time that they were made in.
    pub elapsed: Duration,
    /// Time from the last event until everything was written.
    pub flushed: Duration,
}

/// Sends made-up opens through the tracer's transport, `rate` a second.
///
/// # Errors
/// The socket cannot be connected to, or what was made is not read within a minute.
pub fn flood(socket: &Path, rate: u32, limit: Duration) -> io::Result<Flood> {
    let path = CString::new(socket.as_os_str().as_bytes())?;
    let mut session_key = [0; 32];
    process::random(&mut session_key);
    let hello = Hello {
        version: VERSION,
        container: format!("flood-{}", process::own_pid()),
        session_key,
        engine: Engine::UserNotification,
        interest: Interest::everything().to_string(),
        ..Hello::default()
    };
    let mut transport = Transport::new(Some(path), hello);
    if !transport.try_connect() {
        return Err(io::ErrorKind::NotConnected.into());
    }
    let shell = Process {
        pid: 1,
        started_at: 1,
        image: Some(Image {
            file: File::from_path("/usr/bin/python3"),
            ..Image::default()
        }),
        ..Process::default()
    };
    transport.push(&ToAgent::Process(Box::new(shell)));
    let (start, mut made, mut dropped) = (Instant::now(), 0, 0);
    while start.elapsed() < limit {
        let due = start.elapsed().as_micros() as u64 * u64::from(rate) / 1_000_000;
        while made < due {
            made += 1;
            dropped += u64::from(!transport.push_event(made_up(made)));
        }
        write(&mut transport);
        std::thread::sleep(Duration::from_micros(500));
    }
    let elapsed = start.elapsed();
    while transport.has_unsent() {
        write(&mut transport);
        std::thread::sleep(Duration::from_millis(1));
        if start.elapsed() > limit + Duration::from_secs(60) {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
    Ok(Flood {
        events: made,
        dropped,
        elapsed,
        flushed: start.elapsed() - elapsed,
    })
}

/// Writes as the worker does, but for a look every half millisecond instead of the poller's.
fn write(transport: &mut Transport) {
    transport.has_socket_room();
    while transport.is_flush_due() && transport.write() == Link::Unchanged {}
}

fn made_up(number: u64) -> Event {
    let file = File {
        inode: number,
        mode: 0o100_644,
        filesystem: "overlay".into(),
        ..File::from_path(format!("/srv/app/cache/{:04x}.html", number % 5000))
    };
    Event {
        sequence: 0,
        time: poll::now(),
        pid: 1,
        tid: 1,
        outcome: Outcome::Unconfirmed,
        kind: EventKind::Open {
            file,
            flags: 0,
            mode: 0,
        },
    }
}
