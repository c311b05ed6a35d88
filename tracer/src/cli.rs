//! The command line.

use std::ffi::{CString, OsString};
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;

use picket_events::Interest;
use picket_events::session::MAX_TOKEN;
use picket_events::wire::Engine;

use crate::config::{self, Choice, Config};
use crate::hidden::hide_argument;
use crate::sys::{files, poll, process};
use crate::{keeper, launch, probe, processes, setup, transport};

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

setup         copies this program into a directory, for containers that share it
trace         runs a command and tells the agent what it and its descendants do
exec-session  the same for what somebody runs by kubectl exec
probe         tells what this kernel and sandbox allow

Exit codes: the command's own; 127 it is not there, 126 it cannot be run, 125 a failure of the
tracer where there is no command or --require-tracing is given; 1 of setup and probe: it fails.
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
        Some("setup" | "trace" | "exec-session" | "probe") if asks_for_help(&rest) => usage(),
        Some("setup") => run_setup(&rest),
        Some("trace") => run_trace(rest),
        Some("exec-session") => run_session(rest),
        Some("probe") => run_probe(&rest),
        Some("help" | "--help" | "-h") => usage(),
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

fn usage() -> ExitCode {
    print!("{USAGE}");
    ExitCode::SUCCESS
}

/// Where a command stands behind the flags, that is run instead.
fn asks_for_help(args: &[OsString]) -> bool {
    let is = |words: &[&str]| args.iter().any(|arg| words.iter().any(|word| arg == word));
    is(&["--help", "-h"]) && !is(&["--"])
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
    match parse("exec-session", args) {
        Ok(config) => {
            if let Some(token) = &config.session_token {
                hide_argument(token);
            }
            keeper::run(config)
        }
        Err(misuse) => give_up(&misuse),
    }
}

/// What is wrong with a command line, as a sentence, and what could be read of it all the same.
struct Misuse {
    sentence: String,
    config: Box<Config>,
}

fn run_trace(args: Vec<OsString>) -> ExitCode {
    match parse("trace", args) {
        Ok(config) => keeper::run(config),
        Err(misuse) => give_up(&misuse),
    }
}

/// The application comes first: a flag that we do not understand costs its tracing, never its
/// start.
fn give_up(Misuse { sentence, config }: &Misuse) -> ExitCode {
    if config.command.is_empty() {
        say(sentence);
        return ExitCode::from(OWN_FAILURE);
    }
    // An agent of another version than whoever wrote the flags has to be told why.
    let engine = Engine::Failed {
        step: sentence.clone(),
        errno: libc::EINVAL,
    };
    transport::send_hello(config, keeper::hello(config, &config.interest, engine, 0));
    if config.require_tracing {
        say(&format!("{sentence}; the program is not started"));
        return ExitCode::from(OWN_FAILURE);
    }
    say(&format!("{sentence}; the program runs untraced"));
    crate::sys::inherited::restore();
    ExitCode::from(launch::execute(&config.command) as u8)
}

/// What stands before the command.
struct Flags {
    socket: Option<OsString>,
    container: String,
    interest: Interest,
    session_token: Option<String>,
    engine: Choice,
    spare: bool,
    like_old_kernels: bool,
    require_tracing: bool,
}

impl Flags {
    /// Takes one flag, and its value from those behind it; says what is wrong with it.
    fn take(
        &mut self,
        flag: &OsString,
        behind: &mut impl Iterator<Item = OsString>,
    ) -> Result<(), String> {
        let mut value = || {
            behind
                .next()
                .ok_or_else(|| format!("{} needs a value", flag.to_string_lossy()))
        };
        match flag.to_str() {
            // Counts wherever it stands.
            Some("--require-tracing") => {}
            Some("--spare") => self.spare = true,
            // For tests and benchmarks (docs/development.md).
            Some("--like-old-kernels") => self.like_old_kernels = true,
            Some("--no-agent") => self.socket = None,
            Some("--socket") => self.socket = Some(value()?),
            Some("--container") => self.container = value()?.to_string_lossy().into_owned(),
            Some("--session") => self.session_token = value()?.to_str().and_then(usable_token),
            Some("--interest") => {
                let interest = value()?.to_string_lossy().parse();
                self.interest = interest.map_err(|error| format!("{error}"))?;
            }
            Some("--engine") => {
                let value = value()?;
                let choice = value.to_str().and_then(Choice::from_word);
                self.engine = choice.ok_or_else(|| {
                    let value = value.to_string_lossy();
                    format!("unknown engine {value}: auto, notification or ptrace")
                })?;
            }
            _ => {
                let flag = flag.to_string_lossy();
                return Err(match flag.starts_with('-') {
                    true => format!("unknown flag {flag}"),
                    false => format!("the command belongs behind --, not {flag}"),
                });
            }
        }
        Ok(())
    }
}

/// What a subcommand was told. Behind a fault it is read on, for where the agent is to be told.
fn parse(subcommand: &str, args: Vec<OsString>) -> Result<Config, Misuse> {
    let (before, command) = match args.iter().position(|arg| arg == "--") {
        Some(at) => (args[..at].to_vec(), args[at + 1..].to_vec()),
        None => (args, Vec::new()),
    };
    let mut flags = Flags {
        socket: Some(OsString::from(DEFAULT_SOCKET)),
        container: String::new(),
        interest: Interest::default(),
        session_token: None,
        engine: Choice::default(),
        spare: config::yama_restricts(),
        like_old_kernels: false,
        require_tracing: before.iter().any(|flag| flag == "--require-tracing"),
    };
    let mut fault = None;
    let mut before = before.into_iter();
    while let Some(flag) = before.next() {
        fault = fault.or(flags.take(&flag, &mut before).err());
    }
    if command.is_empty() && fault.is_none() {
        fault = Some("no command given behind --".to_owned());
    }
    let Flags {
        socket,
        interest: mut wanted,
        ..
    } = flags;
    if let Some(file) = socket
        .as_ref()
        .and_then(|socket| widening(Path::new(socket)))
    {
        wanted = wanted.union(file);
    }
    if fault.is_none()
        && let Some(fault) = socket.as_ref().and_then(|socket| socket_fault(socket))
    {
        let path = socket.as_ref().map(|socket| socket.to_string_lossy());
        say(&format!(
            "{subcommand}: {} {fault}; the program is traced, but nobody will be told",
            path.unwrap_or_default()
        ));
    }
    let watched = socket.as_ref().map(|socket| watched(Path::new(socket)));
    let watched = watched.unwrap_or_default();
    let socket = socket.map(|socket| CString::new(socket.as_bytes()).unwrap_or_default());
    let mut session_key = [0; 32];
    process::random(&mut session_key);
    let config = Config {
        socket,
        container: flags.container,
        interest: wanted,
        watched,
        engine: flags.engine,
        spare: flags.spare,
        like_old_kernels: flags.like_old_kernels,
        require_tracing: flags.require_tracing,
        inherited: files::open_descriptors(),
        command,
        session_token: flags.session_token,
        session_key,
        started_at: poll::now(),
        boot_time: processes::boot_time(),
        container_id: config::container_id(),
    };
    match fault {
        None => Ok(config),
        Some(fault) => Err(Misuse {
            sentence: format!("{subcommand}: {fault}"),
            config: Box::new(config),
        }),
    }
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
        parse("trace", line.split(' ').map(OsString::from).collect())
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
            assert_eq!(misuse.config.command, ["true"]);
        }
        let nothing = parsed("--no-agent --").err().unwrap();
        assert!(nothing.config.command.is_empty());
    }

    #[test]
    fn behind_a_fault_is_read_where_the_agent_is_to_be_told() {
        let line = "--later 3 --engine steam --container web --socket /run/x --interest exec,steam -- true";
        let Misuse { sentence, config } = parsed(line).err().unwrap();
        assert_eq!(sentence, "trace: unknown flag --later");
        assert_eq!(config.container, "web");
        assert_eq!(config.socket.as_deref(), Some(c"/run/x"));
    }
}
