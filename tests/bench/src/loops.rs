//! Loops over one call, which print what one pass takes. They run in a process of their own,
//! which is traced or not.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

#[derive(Args)]
pub(crate) struct Loop {
    call: Call,
    /// Passes of each thread.
    #[arg(long, default_value_t = 0)]
    passes: u32,
    /// What is opened.
    #[arg(long, default_value = "/etc/hostname")]
    file: PathBuf,
    #[arg(long, default_value_t = 1)]
    threads: u32,
    /// Threads besides, that sleep.
    #[arg(long, default_value_t = 0)]
    idle: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Call {
    /// Opens a file for reading, as `cat` does, and closes it.
    Open,
    /// Connects to a TCP port of this process, accepts, closes both.
    Connect,
    /// Runs /bin/true.
    Spawn,
    /// Tells when it has started, and again when it ends (nanoseconds, monotonic).
    Stamp,
    /// Opens a file for reading until a line comes from standard input, tells how often, and
    /// ends with standard input.
    OpenUntilTold,
    /// Makes `passes` processes that sleep until standard input ends.
    Sleepers,
}

pub(crate) fn run(what: &Loop) -> anyhow::Result<()> {
    match what.call {
        Call::Stamp => {
            println!("{}", monotonic()?);
            println!("{}", monotonic()?);
            return Ok(());
        }
        Call::Sleepers => return sleepers(what.passes),
        Call::OpenUntilTold => return open_until_told(&what.file),
        Call::Open | Call::Connect | Call::Spawn => {}
    }
    let start_together = Barrier::new(what.threads as usize);
    let nanoseconds = std::thread::scope(|scope| -> anyhow::Result<u128> {
        for _ in 0..what.idle {
            std::thread::Builder::new()
                .stack_size(64 * 1024)
                .spawn(|| {
                    loop {
                        std::thread::sleep(Duration::from_secs(3600));
                    }
                })?;
        }
        let threads: Vec<_> = (0..what.threads)
            .map(|_| scope.spawn(|| passes(what, &start_together)))
            .collect();
        let mut longest = 0;
        for thread in threads {
            let taken = thread
                .join()
                .map_err(|_| anyhow::anyhow!("a thread panicked"))??;
            longest = longest.max(taken.as_nanos());
        }
        Ok(longest)
    })?;
    let all = u128::from(what.passes) * u128::from(what.threads);
    println!("{}", nanoseconds as f64 / all as f64);
    // Idle threads never end by themselves.
    std::process::exit(0);
}

fn passes(what: &Loop, start_together: &Barrier) -> anyhow::Result<Duration> {
    let call = what.call;
    let listener = match call {
        Call::Connect => Some(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?),
        _ => None,
    };
    start_together.wait();
    let start = Instant::now();
    for _ in 0..what.passes {
        match &listener {
            Some(listener) => {
                let client = TcpStream::connect(listener.local_addr()?)?;
                let (server, _) = listener.accept()?;
                // Closed first by the server, so that no port of ours waits.
                drop((server, client));
            }
            None if call == Call::Spawn => {
                Command::new("/bin/true").status()?;
            }
            None => drop(open(&what.file, OFlag::O_RDONLY, Mode::empty())?),
        }
    }
    Ok(start.elapsed())
}

/// The monotonic clock, nanoseconds.
pub(crate) fn monotonic() -> anyhow::Result<u64> {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC)?;
    Ok(time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64)
}

fn open_until_told(file: &Path) -> anyhow::Result<()> {
    let (told, tell) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        let _ = std::io::stdin().read_line(&mut line);
        let _ = told.send(());
        let _ = std::io::stdin().read_line(&mut line);
        std::process::exit(0);
    });
    let mut passes: u64 = 0;
    while tell.try_recv().is_err() {
        drop(open(file, OFlag::O_RDONLY, Mode::empty())?);
        passes += 1;
    }
    println!("{passes}");
    loop {
        std::thread::park();
    }
}

fn sleepers(count: u32) -> anyhow::Result<()> {
    let mut all = Vec::new();
    for _ in 0..count {
        all.push(Command::new("/bin/sleep").arg("3600").spawn()?);
    }
    println!("ready");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    for mut child in all {
        child.kill()?;
        child.wait()?;
    }
    Ok(())
}
