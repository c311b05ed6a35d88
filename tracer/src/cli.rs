//! The command line.

use std::ffi::{CString, OsString};
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;

use picket_events::Interest;
use picket_events::session::MAX_TOKEN;

use crate::config::{self, Choice, Config};
use crate::hidden::hide_argument;
use crate::sys::{files, poll, process};
use crate::{keeper, launch, probe, processes, setup};

/// Exit code for a failure of the tracer itself, as `env`, `timeout` and container engines
/// have it.
pub(crate) const OWN_FAILURE: u8 = 125;

const DEFAULT_SOCKET: &str = "/picket/run/agent.sock";
const INTEREST_FILE: &str = "interest";
/// The file beside it that has the patterns of files that are watched, a line for each.
const WATCHED_FILE: &str = "watched";
/// Patterns and bytes of that file that are taken, at most.
const WATCHED_MAX: usize = 256;
const WATCHED_BYTES: u64 = 256 * 1024;

const USAGE: &str = "\
usage: picket-tracer setup --dir DIR
       picket-tracer trace [--socket PATH] [--container NAME] [--interest TEXT]
                           [--engine auto|notification|ptrace] [--require-tracing]
                           [--no-agent] [--spare] -- COMMAND [ARGUMENT]...
       picket-tracer exec-session [--session TOKEN] [flags of trace] -- COMMAND [ARGUMENT]...
       picket-tracer probe [--json]
";

fn say(text: &str) {
    eprintln!("picket-tracer: {text}");
}

/// Runs the command line.
pub(crate) fn run(args: Vec<OsString>) -> ExitCode {
    let mut args = args.into_iter();
    let command = args.next().unwrap_or_default();
    let rest: Vec<OsString> = args.collect();
    match command.to_str() {
        Some("setup") => run_setup(&rest),
        Some("trace") => run_trace(rest),
        Some("exec-session") => run_session(rest),
        Some("probe") => run_probe(&rest),
        Some("help" | "--help" | "-h") => {
            print!("{USAGE}");
            ExitCode::SUCCESS
        }
        Some("--version") => {
            println!("picket-tracer {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        _ => {
            eprint!("{USAGE}");
            ExitCode::from(OWN_FAILURE)
        }
    }
}

fn run_probe(args: &[OsString]) -> ExitCode {
    match args {
        [] => probe::run(false),
        [flag] if flag == "--json" => probe::run(true),
        _ => {
            say("probe: takes no arguments but --json");
            ExitCode::from(OWN_FAILURE)
        }
    }
}

fn run_setup(args: &[OsString]) -> ExitCode {
    let directory = match args {
        [flag, directory] if flag == "--dir" => directory,
        _ => {
            say("setup: expected --dir DIR");
            return ExitCode::from(OWN_FAILURE);
        }
    };
    match setup::run(Path::new(directory)) {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("setup: {error}"));
            ExitCode::from(1)
        }
    }
}

/// A command that somebody runs in a container that has a tracer already (`kubectl exec`). It is
/// traced by a tracer of its own, which says whose session it is.
fn run_session(args: Vec<OsString>) -> ExitCode {
    match parse(args) {
        Ok(config) => {
            if let Some(token) = &config.session_token {
                hide_argument(token);
            }
            keeper::run(config)
        }
        Err(misuse) => give_up(misuse),
    }
}

/// What is wrong with a command line, as a sentence, and the command that was meant.
struct Misuse {
    sentence: String,
    command: Vec<OsString>,
    require_tracing: bool,
}

fn run_trace(args: Vec<OsString>) -> ExitCode {
    match parse(args) {
        Ok(config) => keeper::run(config),
        Err(misuse) => give_up(misuse),
    }
}

fn give_up(misuse: Misuse) -> ExitCode {
    match misuse {
        // The application comes first: a flag that we do not understand costs its tracing,
        // never its start.
        misuse if misuse.command.is_empty() || misuse.require_tracing => {
            say(&misuse.sentence);
            ExitCode::from(OWN_FAILURE)
        }
        misuse => {
            say(&format!(
                "{}; running the program untraced",
                misuse.sentence
            ));
            crate::sys::inherited::restore();
            ExitCode::from(launch::execute(&misuse.command) as u8)
        }
    }
}

fn parse(args: Vec<OsString>) -> Result<Config, Misuse> {
    let (flags, command) = match args.iter().position(|arg| arg == "--") {
        Some(at) => (args[..at].to_vec(), args[at + 1..].to_vec()),
        None => (args, Vec::new()),
    };
    let require_tracing = flags.iter().any(|flag| flag == "--require-tracing");
    let misuse = |sentence: String| Misuse {
        sentence,
        command: command.clone(),
        require_tracing,
    };
    let mut socket = Some(OsString::from(DEFAULT_SOCKET));
    let mut container = String::new();
    let mut interest = None;
    let mut session_token = None;
    let mut engine = Choice::default();
    let mut spare = config::yama_restricts();
    let mut interruptible = false;
    let mut flags = flags.into_iter();
    while let Some(flag) = flags.next() {
        let mut value = || flags.next();
        match flag.to_str() {
            Some("--require-tracing") => {}
            Some("--spare") => spare = true,
            // For tests (docs/development.md).
            Some("--interruptible") => interruptible = true,
            Some("--no-agent") => socket = None,
            Some(name @ ("--socket" | "--container" | "--interest" | "--engine" | "--session")) => {
                let name = name.to_owned();
                let Some(value) = value() else {
                    return Err(misuse(format!("trace: {name} needs a value")));
                };
                match name.as_str() {
                    "--socket" => socket = Some(value),
                    "--engine" => match value.to_str().and_then(Choice::from_word) {
                        Some(choice) => engine = choice,
                        None => {
                            let value = value.to_string_lossy();
                            return Err(misuse(format!(
                                "trace: unknown engine {value}: auto, notification or ptrace"
                            )));
                        }
                    },
                    "--session" => session_token = value.to_str().and_then(usable_token),
                    "--container" => container = value.to_string_lossy().into_owned(),
                    _ => interest = Some(value.to_string_lossy().into_owned()),
                }
            }
            _ => {
                let flag = flag.to_string_lossy();
                let word = match flag.starts_with('-') {
                    true => "unknown flag",
                    false => "the command belongs behind --, not",
                };
                return Err(misuse(format!("trace: {word} {flag}")));
            }
        }
    }
    if command.is_empty() {
        return Err(misuse("trace: no command given behind --".to_owned()));
    }
    let mut wanted = match interest.as_deref().map(str::parse::<Interest>) {
        None => Interest::default(),
        Some(Ok(interest)) => interest,
        Some(Err(error)) => return Err(misuse(format!("trace: {error}"))),
    };
    if let Some(file) = socket
        .as_ref()
        .and_then(|socket| widening(Path::new(socket)))
    {
        wanted = wanted.union(file);
    }
    if let Some(fault) = socket.as_ref().and_then(|socket| socket_fault(socket)) {
        let path = socket.as_ref().map(|socket| socket.to_string_lossy());
        say(&format!(
            "trace: {} {fault}; the program is traced, but nobody will be told",
            path.unwrap_or_default()
        ));
    }
    let watched = socket.as_ref().map(|socket| watched(Path::new(socket)));
    let watched = watched.unwrap_or_default();
    let socket = socket.map(|socket| CString::new(socket.as_bytes()).unwrap_or_default());
    let mut session_key = [0; 32];
    process::random(&mut session_key);
    Ok(Config {
        socket,
        container,
        interest: wanted,
        watched,
        engine,
        spare,
        interruptible,
        require_tracing,
        inherited: files::open_descriptors(),
        command,
        session_token,
        session_key,
        started_at: poll::now(),
        boot_time: processes::boot_time(),
        container_id: config::container_id(),
    })
}

/// Why nobody can ever listen at a path; one where nobody does yet is as it should be.
fn socket_fault(path: &OsString) -> Option<&'static str> {
    use std::os::unix::fs::FileTypeExt;
    /// What fits into a `struct sockaddr_un`, its end left out.
    const LONGEST: usize = 107;
    if path.len() > LONGEST {
        return Some("is longer than the path of a socket can be");
    }
    let found = std::fs::metadata(path).ok()?;
    (!found.file_type().is_socket()).then_some("is not a socket")
}

/// A token that the agent would look at: our own sends no longer ones.
fn usable_token(text: &str) -> Option<String> {
    (text.len() <= MAX_TOKEN).then(|| text.to_owned())
}

/// What the agent wrote next to its socket: it can only widen what the flags ask for.
fn widening(socket: &Path) -> Option<Interest> {
    let text = std::fs::read_to_string(socket.with_file_name(INTEREST_FILE)).ok()?;
    text.trim().parse().ok()
}

/// What the agent waits for reads of, as it wrote next to its socket.
fn watched(socket: &Path) -> Vec<String> {
    let mut text = String::new();
    let file = std::fs::File::open(socket.with_file_name(WATCHED_FILE));
    // What has no end yet, or is no text, is none of its own.
    let read = file.and_then(|file| file.take(WATCHED_BYTES).read_to_string(&mut text));
    match read {
        Ok(_) => text.lines().take(WATCHED_MAX).map(str::to_owned).collect(),
        Err(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Config, Misuse> {
        parse(line.split(' ').map(OsString::from).collect())
    }

    #[test]
    fn flags_are_read_up_to_the_dashes() {
        let config = parsed("--container web --interest exec --no-agent -- sh -c true")
            .ok()
            .unwrap();
        assert_eq!(config.container, "web");
        assert_eq!(config.socket, None);
        assert_eq!(config.interest, Interest::lineage());
        assert_eq!(config.command, ["sh", "-c", "true"]);
    }

    #[test]
    fn a_session_carries_its_token_and_no_longer_one() {
        let config = parsed("--container web:exec-1 --session a.b -- sh")
            .ok()
            .unwrap();
        assert_eq!(config.session_token.as_deref(), Some("a.b"));
        let long = format!("--session {} -- sh", "a".repeat(MAX_TOKEN + 1));
        assert_eq!(parsed(&long).ok().unwrap().session_token, None);
    }

    #[test]
    fn misuse_names_the_fault_and_keeps_the_command() {
        for (line, word) in [
            ("--frobnicate -- true", "--frobnicate"),
            ("--socket -- true", "--socket needs a value"),
            ("--interest opne -- true", "opne"),
            ("--engine steam -- true", "steam"),
        ] {
            let misuse = parsed(line).err().unwrap();
            assert!(misuse.sentence.contains(word), "{}", misuse.sentence);
            assert_eq!(misuse.command, ["true"]);
        }
        assert!(parsed("--no-agent --").err().unwrap().command.is_empty());
    }
}
