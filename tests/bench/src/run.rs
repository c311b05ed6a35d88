//! Running programs, for no longer than they may take.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{Signal, killpg};
use nix::sys::time::TimeVal;
use nix::unistd::Pid;

/// No run takes longer.
const LIMIT: Duration = Duration::from_secs(180);

/// What a run gave.
pub(crate) struct Outcome {
    /// From its start to its end.
    pub(crate) elapsed: Duration,
    /// Processor time of it and of all that it waited for, seconds.
    pub(crate) processor: f64,
    /// What it wrote to standard output.
    pub(crate) output: String,
}

/// A command of a prefix and the words behind it.
pub(crate) fn command<W: AsRef<OsStr>>(prefix: &[OsString], words: &[W]) -> Command {
    let mut all = prefix
        .iter()
        .map(OsString::as_os_str)
        .chain(words.iter().map(AsRef::as_ref));
    let mut command = Command::new(all.next().unwrap_or_default());
    command.args(all).stdin(Stdio::null());
    // Nobody's signals but ours, and all of it in one group.
    command.process_group(0);
    command
}

/// Runs a command to its end.
///
/// # Errors
/// It cannot be started, fails, or takes longer than [`LIMIT`].
pub(crate) fn to_end(mut command: Command) -> anyhow::Result<Outcome> {
    let name = format!("{command:?}");
    let before = processor_time()?;
    let start = Instant::now();
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {name}"))?;
    let group = Pid::from_raw(child.id() as i32);
    let (ended, end) = mpsc::channel::<()>();
    let watchdog = std::thread::spawn(move || {
        if end.recv_timeout(LIMIT) == Err(mpsc::RecvTimeoutError::Timeout) {
            let _ = killpg(group, Signal::SIGKILL);
        }
    });
    let errors = child
        .stderr
        .take()
        .map(|stream| std::thread::spawn(|| all_of(stream)));
    let output = child.stdout.take().map(all_of).unwrap_or_default();
    let status = child.wait()?;
    let elapsed = start.elapsed();
    drop(ended);
    let _ = watchdog.join();
    if !status.success() {
        let errors = errors
            .and_then(|thread| thread.join().ok())
            .unwrap_or_default();
        bail!("{name} ended with {status}: {}", errors.trim());
    }
    Ok(Outcome {
        elapsed,
        processor: processor_time()? - before,
        output,
    })
}

/// Processor time of all children that have been waited for, seconds.
///
/// # Errors
/// The kernel does not say.
pub(crate) fn processor_time() -> anyhow::Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let seconds = |time: TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    Ok(seconds(usage.user_time()) + seconds(usage.system_time()))
}

fn all_of(mut stream: impl Read) -> String {
    let mut text = String::new();
    let _ = stream.read_to_string(&mut text);
    text
}

/// A program in the background, which is gone when this is.
pub(crate) struct Background(Child);

impl Background {
    pub(crate) fn start(mut command: Command) -> anyhow::Result<Self> {
        let name = format!("{command:?}");
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Self(child))
    }

    /// Waits for its end; false when it takes longer than that.
    pub(crate) fn wait(&mut self, limit: Duration) -> bool {
        let start = Instant::now();
        while start.elapsed() < limit {
            if matches!(self.0.try_wait(), Ok(Some(_))) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        false
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if !self.wait(Duration::ZERO) {
            let _ = killpg(Pid::from_raw(self.0.id() as i32), Signal::SIGKILL);
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Lets every user into a directory.
pub(crate) fn open_to_all(directory: &Path) -> anyhow::Result<()> {
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// The path of a program as it can be run in whatever directory.
///
/// # Errors
/// It is not there.
pub(crate) fn from_anywhere(program: &Path) -> anyhow::Result<PathBuf> {
    let canonical = program.canonicalize();
    canonical.with_context(|| format!("cannot find {}", program.display()))
}

/// Where a program is, if it is installed.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<_> = std::env::split_paths(&path).collect();
    places.extend(["/usr/sbin".into(), "/sbin".into(), "/usr/bin".into()]);
    places
        .into_iter()
        .map(|place| place.join(program))
        .find(|path| path.is_file())
}
