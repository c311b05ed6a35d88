//! What a process runs, read when the new program stands before its first instruction.

use picket_events::{Credentials, File, Image, text};

use crate::decode::{self, Located};
use crate::looks::Looks;
use crate::memory::{Memory, PATH_MAX};
use crate::mounts::Mounts;
use crate::proc;
use crate::resolve::View;
use crate::scrub;

/// Arguments kept, at most.
const ARGUMENTS_MAX: usize = 256;
/// Bytes of all arguments kept, at most.
const ARGUMENTS_BYTES: usize = 32 * 1024;
/// Environment entries kept, at most.
const ENVIRONMENT_MAX: usize = 512;
/// Bytes of the environment that are looked at.
const ENVIRONMENT_BYTES: usize = 128 * 1024;

/// A process whose program is to be read.
pub(crate) struct Program<'a> {
    pub(crate) view: &'a View<'a>,
    /// Its address space, if it could be opened.
    pub(crate) memory: Option<&'a Memory>,
    /// The path that it asked for, used where the program itself cannot be read.
    pub(crate) named: Option<&'a [u8]>,
}

/// Reads the image of a process that has just exec'd.
pub(crate) fn read(of: &Program<'_>, mounts: &Mounts, looks: &mut Looks) -> Image {
    let view = of.view;
    let pid = view.pid;
    let (argv, argv_truncated) = arguments(pid, view.credentials);
    let (envs, envs_truncated) = environment(pid, view.credentials);
    let executed = executed_name(of);
    let called = executed.as_deref().and_then(plain_name);
    let (file, interpreter) = program(of, executed, mounts, looks);
    let stat = proc::stat(pid).unwrap_or_default();
    let cwd = view.directory(libc::AT_FDCWD).unwrap_or_default();
    Image {
        called: called.filter(|name| *name != file.path).unwrap_or_default(),
        file,
        interpreter,
        argv,
        argv_truncated,
        envs,
        envs_truncated,
        comm: stat.comm,
        tty: proc::terminal_name(stat.terminal),
        cwd: text::from_bytes(&cwd),
    }
}

/// The program file, and the interpreter when the program is a script.
fn program(
    of: &Program<'_>,
    executed: Option<Vec<u8>>,
    mounts: &Mounts,
    looks: &mut Looks,
) -> (File, Option<File>) {
    let Program { view, named, .. } = *of;
    let found = view.behind(&format!("/proc/{}/exe", view.pid));
    let running = decode::file_of(&found, mounts);
    // The kernel leaves the name that was executed on the new stack: for a script that is the
    // script, while /proc/PID/exe is its interpreter. Nobody could have changed it yet.
    let executed = executed.and_then(|name| {
        let at = Located {
            path: name,
            descriptor: None,
            follow: true,
            fault: None,
        };
        let (file, resolved) = looks.look(view, &at, mounts);
        resolved.metadata.map(|metadata| (file, metadata))
    });
    match (found.metadata, executed) {
        (Some(exe), Some((_, script))) if exe.same_file(&script) => (running, None),
        (Some(_), Some((script, _))) => (script, Some(running)),
        (Some(_), None) => (running, None),
        (None, Some((file, _))) => (file, None),
        (None, None) => {
            let mut file = File::from_path(text::from_bytes(named.unwrap_or_default()));
            file.fault = Some(picket_events::file::FileFault::Unresolved);
            (file, None)
        }
    }
}

/// A name that rules can be written for: nothing in it is left to be resolved but links, and it
/// is not one that `/proc` makes up.
fn plain_name(name: &[u8]) -> Option<String> {
    let mut parts = name.strip_prefix(b"/")?.split(|byte| *byte == b'/');
    let is_plain = parts.all(|part| !matches!(part, b"" | b"." | b".."));
    (is_plain && !name.starts_with(b"/proc/")).then(|| text::from_bytes(name))
}

/// The name that the kernel executed, made absolute.
fn executed_name(of: &Program<'_>) -> Option<Vec<u8>> {
    let view = of.view;
    let auxiliary = proc::as_tracee(view.credentials, || proc::auxiliary(view.pid)).ok()?;
    let (name, _) = of.memory?.string(auxiliary.file_name, PATH_MAX).ok()?;
    if name.first() == Some(&b'/') {
        return Some(name);
    }
    let mut full = view.directory(libc::AT_FDCWD).ok()?;
    full.push(b'/');
    full.extend_from_slice(&name);
    Some(full)
}

fn list(
    pid: u32,
    file: &str,
    credentials: &Credentials,
    bytes_max: usize,
    entries_max: usize,
) -> (Vec<String>, bool) {
    let path = format!("/proc/{pid}/{file}");
    let bytes = proc::as_tracee(credentials, || proc::read(&path, bytes_max + 1));
    let mut bytes = bytes.unwrap_or_default();
    let mut truncated = bytes.len() > bytes_max;
    bytes.truncate(bytes_max);
    if !truncated && bytes.last() == Some(&0) {
        bytes.pop();
    }
    if bytes.is_empty() {
        return (Vec::new(), truncated);
    }
    let mut entries: Vec<String> = bytes
        .split(|byte| *byte == 0)
        .take(entries_max + 1)
        .map(text::from_bytes)
        .collect();
    truncated |= entries.len() > entries_max;
    entries.truncate(entries_max);
    (entries, truncated)
}

fn arguments(pid: u32, credentials: &Credentials) -> (Vec<String>, bool) {
    let (mut argv, truncated) = list(pid, "cmdline", credentials, ARGUMENTS_BYTES, ARGUMENTS_MAX);
    scrub::arguments(&mut argv);
    argv.shrink_to_fit();
    (argv, truncated)
}

fn environment(pid: u32, credentials: &Credentials) -> (Vec<String>, bool) {
    let (envs, truncated) = list(
        pid,
        "environ",
        credentials,
        ENVIRONMENT_BYTES,
        ENVIRONMENT_MAX,
    );
    let envs = envs
        .iter()
        .map(|entry| scrub::environment(entry).to_owned())
        .collect();
    (envs, truncated)
}
