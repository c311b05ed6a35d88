//! What a process runs, read when the new program stands before its first instruction.

use std::sync::Arc;

use picket_events::wire::environments;
use picket_events::{Credentials, File, Image, text};

use crate::asked::Asked;
use crate::decode::{self, Located};
use crate::images::Environments;
use crate::looks::Looks;
use crate::memory::{Memory, PATH_MAX};
use crate::mounts::Mounts;
use crate::proc;
use crate::resolve::{Resolved, View};
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
    /// It has hardly begun: its strings are where the kernel put them.
    pub(crate) is_fresh: bool,
    /// What it was to be, where that was read before and may have been another.
    pub(crate) asked: Option<&'a Asked>,
    /// Where the name led to then.
    pub(crate) found: Option<&'a Resolved>,
    /// Its stat, where that was read already.
    pub(crate) stat: Option<proc::Stat>,
    /// Whether its memory may be read at all: [`crate::caution`].
    pub(crate) may_be_read: bool,
}

/// A program that was read.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) image: Image,
    /// What was asked for stands among its strings.
    pub(crate) is_as_asked: bool,
    /// Which file it runs was not to be seen, and the one that has its name now is given.
    pub(crate) is_by_name: bool,
}

/// Most that is read at once of what a program was started with.
const STRINGS_MAX: usize = 12 * 1024;

/// What a program was started with.
struct Strings {
    argv: (Vec<String>, bool),
    envs: (Arc<Vec<String>>, bool),
    /// The name that was executed, as it was written.
    executed: Option<Vec<u8>>,
    is_as_asked: bool,
}

/// Reads it from where the kernel has put it on the new stack, all at once if it is not too long for
/// that; `None` where that cannot be done, or the arguments alone are too long.
fn strings(
    of: &Program<'_>,
    at: Option<proc::Strings>,
    environments: &mut Environments,
) -> Option<Strings> {
    let (memory, at) = of.memory.filter(|_| of.is_fresh).zip(at)?;
    let length = |from: u64, to: u64| usize::try_from(to - from).ok();
    let arguments = length(at.arguments, at.environment)?;
    let all = length(at.arguments, at.end)?;
    let mut buffer = [0; STRINGS_MAX];
    let Some(rest) = STRINGS_MAX.checked_sub(all) else {
        // Mostly it is the environment that is long.
        let argv = buffer.get_mut(..arguments)?;
        memory.read(at.arguments, argv).ok()?;
        let (executed, _) = memory.string(at.end, PATH_MAX).ok()?;
        let envs = environment(of.view.pid, of.view.credentials, environments);
        return Some(held_against(of, argv, envs, &executed));
    };
    let room = all + PATH_MAX.min(rest);
    let got = memory.read_some(at.arguments, &mut buffer[..room]).ok()?;
    let text = buffer[..got].split_at_checked(all)?;
    let ((argv, envs), rest) = (text.0.split_at(arguments), text.1);
    let end = rest.iter().position(|byte| *byte == 0)?;
    let envs = environments.of(envs, scrubbed_environment);
    Some(held_against(of, argv, envs, &rest[..end]))
}

/// What was read, held against what was asked for.
fn held_against(
    of: &Program<'_>,
    argv: &[u8],
    envs: (Arc<Vec<String>>, bool),
    executed: &[u8],
) -> Strings {
    let is_as_asked = of.asked.is_none_or(|asked| asked.is(argv, executed));
    Strings {
        argv: scrubbed_arguments(argv),
        envs,
        // Changed by the program itself, it could name any file as what was executed.
        executed: Some(executed.to_vec()).filter(|name| is_as_asked && !name.is_empty()),
        is_as_asked,
    }
}

/// Reads the image of a process that has just exec'd.
pub(crate) fn read(
    of: &Program<'_>,
    mounts: &Mounts,
    looks: &mut Looks,
    environments: &mut Environments,
) -> Read {
    let view = of.view;
    let pid = view.pid;
    let stat = match &of.stat {
        Some(stat) => stat.clone(),
        None => proc::stat_as_tracee(pid, view.credentials).unwrap_or_default(),
    };
    let Strings {
        argv: (argv, argv_truncated),
        envs: (envs, envs_truncated),
        executed,
        is_as_asked,
    } = strings(of, stat.strings, environments).unwrap_or_else(|| match of.may_be_read {
        true => Strings {
            argv: arguments(pid, view.credentials),
            envs: environment(pid, view.credentials, environments),
            executed: of.asked.is_none().then(|| executed_name(of)).flatten(),
            is_as_asked: of.asked.is_none(),
        },
        // What there was is said to be missing.
        false => Strings {
            argv: (Vec::new(), true),
            envs: (Arc::default(), true),
            executed: None,
            is_as_asked: of.asked.is_none(),
        },
    });
    let cwd = view.directory(libc::AT_FDCWD).unwrap_or_default();
    let executed = executed.map(|name| match name.first() {
        Some(b'/') => view.root.unstripped(&name),
        _ => [cwd.as_slice(), b"/", &name].concat(),
    });
    let called = executed.as_deref().and_then(plain_name);
    let (file, interpreter, is_by_name) = program(of, executed, mounts, looks);
    let image = Image {
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
    };
    Read {
        image,
        is_as_asked,
        is_by_name,
    }
}

/// The program file, and the interpreter when the program is a script; true where it is
/// only the one that has the name now which was asked for.
fn program(
    of: &Program<'_>,
    executed: Option<Vec<u8>>,
    mounts: &Mounts,
    looks: &mut Looks,
) -> (File, Option<File>, bool) {
    let Program { view, named, .. } = *of;
    let link = format!("/proc/{}/exe", view.pid);
    // Where it is the file that was found, its name is known.
    let as_found = of.found.filter(|_| executed.is_some()).and_then(|found| {
        let (before, now) = (found.metadata?, view.file_behind(&link)?);
        let is_it = now.same_file(&before) && now.mount_id == before.mount_id && now.links != 0;
        is_it.then(|| Resolved {
            metadata: Some(now),
            ..found.clone()
        })
    });
    if let Some(found) = as_found {
        return (decode::file_of(&found, mounts), None, false);
    }
    let found = view.behind(&link);
    let running = decode::file_of(&found, mounts);
    // The kernel leaves the name that was executed on the new stack: for a script that is the
    // script, while /proc/PID/exe is its interpreter. Nobody could have changed it yet.
    let is_running = |name: &Vec<u8>| {
        *name == found.path && found.metadata.is_some_and(|metadata| metadata.links != 0)
    };
    if executed.as_ref().is_some_and(is_running) {
        return (running, None, false);
    }
    let mut by_name = |name| {
        let at = Located {
            path: name,
            descriptor: None,
            follow: true,
            fault: None,
            below: None,
        };
        let (file, resolved) = looks.look(view, &at, mounts);
        resolved.metadata.map(|metadata| (file, metadata))
    };
    match (found.metadata, executed.and_then(&mut by_name)) {
        (Some(exe), Some((_, script))) if exe.same_file(&script) => (running, None, false),
        (Some(_), Some((script, _))) => (script, Some(running), false),
        (Some(_), None) => (running, None, false),
        (None, Some((file, _))) => (file, None, false),
        // A program that may not be read: the kernel shows neither its file nor its memory.
        (None, None) => match named.and_then(|name| by_name(name.to_vec())) {
            Some((file, _)) => (file, None, true),
            None => {
                let mut file = File::from_path(text::from_bytes(named.unwrap_or_default()));
                file.fault = Some(picket_events::file::FileFault::Unresolved);
                (file, None, false)
            }
        },
    }
}

/// A name that rules can be written for: nothing in it is left to be resolved but links, and it
/// is not one that `/proc` makes up.
fn plain_name(name: &[u8]) -> Option<String> {
    let mut parts = name.strip_prefix(b"/")?.split(|byte| *byte == b'/');
    let is_plain = parts.all(|part| !matches!(part, b"" | b"." | b".."));
    (is_plain && !name.starts_with(b"/proc/")).then(|| text::from_bytes(name))
}

/// The name that the kernel executed, as it was written.
fn executed_name(of: &Program<'_>) -> Option<Vec<u8>> {
    let view = of.view;
    let auxiliary = proc::as_tracee(view.credentials, || proc::auxiliary(view.pid)).ok()?;
    let (name, _) = of.memory?.string(auxiliary.file_name, PATH_MAX).ok()?;
    Some(name)
}

/// A list of strings of `/proc`: one byte more than is kept, to see whether there is more.
fn list(pid: u32, file: &str, credentials: &Credentials, bytes_max: usize) -> Vec<u8> {
    let path = format!("/proc/{pid}/{file}");
    let bytes = proc::as_tracee(credentials, || proc::read(&path, bytes_max + 1));
    bytes.unwrap_or_default()
}

/// Strings that end with a zero byte each, each as `keep` has it; true where not all of them are
/// given.
fn entries(
    bytes: &[u8],
    bytes_max: usize,
    entries_max: usize,
    keep: impl Fn(&[u8]) -> String,
) -> (Vec<String>, bool) {
    if bytes.is_empty() {
        return (Vec::new(), false);
    }
    let is_cut = bytes.len() > bytes_max;
    let bytes = match bytes {
        [kept @ .., 0] if !is_cut => kept,
        _ => &bytes[..bytes.len().min(bytes_max)],
    };
    let mut all = bytes.split(|byte| *byte == 0);
    let kept: Vec<String> = all.by_ref().take(entries_max).map(keep).collect();
    (kept, is_cut || all.next().is_some())
}

fn arguments(pid: u32, credentials: &Credentials) -> (Vec<String>, bool) {
    scrubbed_arguments(&list(pid, "cmdline", credentials, ARGUMENTS_BYTES))
}

/// Arguments as they are told, each ending with a zero byte; true where not all of them are.
pub(crate) fn scrubbed_arguments(bytes: &[u8]) -> (Vec<String>, bool) {
    let (mut argv, truncated) = entries(bytes, ARGUMENTS_BYTES, ARGUMENTS_MAX, text::from_bytes);
    scrub::arguments(&mut argv);
    argv.shrink_to_fit();
    (argv, truncated)
}

fn environment(
    pid: u32,
    credentials: &Credentials,
    environments: &mut Environments,
) -> (Arc<Vec<String>>, bool) {
    let bytes = list(pid, "environ", credentials, ENVIRONMENT_BYTES);
    environments.of(&bytes, scrubbed_environment)
}

pub(crate) fn scrubbed_environment(bytes: &[u8]) -> (Vec<String>, bool) {
    let keep = |entry: &[u8]| text::from_bytes(scrub::environment(entry));
    let (mut envs, is_cut) = entries(bytes, ENVIRONMENT_BYTES, ENVIRONMENT_MAX, keep);
    let is_cut = environments::cut(&mut envs) || is_cut;
    (envs, is_cut)
}
