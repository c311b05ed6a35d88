//! What is denied by path: refused before it is done, whatever else the program does meanwhile;
//! and everything else goes on as if nobody had looked.
#![allow(missing_docs)]

#[path = "deny/changes.rs"]
mod changes;
#[path = "deny/lasting.rs"]
mod lasting;
#[path = "deny/opens.rs"]
mod opens;
#[path = "deny/programs.rs"]
mod programs;
#[path = "deny/signals.rs"]
mod signals;
mod support;

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use picket_events::deny::{Condition, DenyRule, TextField};
use picket_events::pattern::Glob;
use picket_events::wire::ToTracer;
use picket_events::{EventKind, EventType, Outcome};
use support::*;

const REFUSED: Outcome = Outcome::Denied(1);

fn fits(field: TextField, pattern: &str) -> Condition {
    let is_glob = pattern.contains('*');
    Condition::Text {
        field,
        texts: (!is_glob).then(|| pattern.to_owned()).into_iter().collect(),
        globs: is_glob
            .then(|| Glob::new(pattern).unwrap())
            .into_iter()
            .collect(),
        wildcards: Vec::new(),
    }
}

fn rule(event: EventType, pattern: &str) -> DenyRule {
    DenyRule {
        rule: format!("deny_{}", event.name()),
        event,
        condition: fits(TextField::Path, pattern),
    }
}

/// A Python program that waits until it is told to go on, and then says what became of what it
/// tries. `got(function, …)` is "done" or the name of the error.
const PRELUDE: &str = r#"
import ctypes, errno, os, stat, sys, threading, time
libc = ctypes.CDLL(None, use_errno=True)
here = sys.argv[1]
def got(function, *arguments, **named):
    try: result = function(*arguments, **named)
    except OSError as error: return errno.errorcode[error.errno]
    return result if isinstance(result, str) else "done"
def read(path, flags=os.O_RDONLY, **named):
    fd = os.open(path, flags, **named)
    try: return os.read(fd, 100).decode() or "empty"
    finally: os.close(fd)
open(here + "/ready", "w").close()
while not os.path.exists(here + "/go"): time.sleep(0.01)
"#;

struct Denied {
    scratch: Scratch,
    agent: Agent,
    child: Running,
}

impl Denied {
    /// Starts a program, and lets it go on once these rules are in force.
    fn start(name: &str, interest: &str, rules: &[DenyRule], program: &str) -> Self {
        Self::start_as(name, interest, &[], program, |_| rules.to_vec())
    }

    fn start_as(
        name: &str,
        interest: &str,
        through: &[&str],
        program: &str,
        rules: impl FnOnce(&Scratch) -> Vec<DenyRule>,
    ) -> Self {
        let scratch = Scratch::new(&format!("deny-{name}-{}", engine()));
        let agent = Agent::start(&scratch);
        let program = scratch.script("program", &format!("{PRELUDE}{program}"));
        let here = scratch.text("here");
        std::fs::create_dir(&here).unwrap();
        set_mode(Path::new(&here), 0o777);
        let mut words = through.to_vec();
        words.extend(["python3", "-I", "-S", "-B", &program, &here]);
        let mut command = traced(&agent, interest, &words);
        let child = start(command.stdin(Stdio::null()).stdout(Stdio::piped()));
        eventually("the program", || {
            Path::new(&format!("{here}/ready")).exists()
        });
        let rules = rules(&scratch);
        agent.say(&ToTracer::Deny(rules));
        let denied = Self {
            scratch,
            agent,
            child,
        };
        denied.until_in_force();
        std::fs::write(format!("{here}/go"), "").unwrap();
        denied
    }

    /// The tracer has read what it was told: it answers a question that came behind it.
    fn until_in_force(&self) {
        let request = picket_events::wire::SumRequest {
            request: 4711,
            path: "/none".into(),
            ..Default::default()
        };
        self.agent.say(&ToTracer::Sum(Box::new(request)));
        self.agent.until("an answer", |record| {
            record.0.iter().any(|message| {
                matches!(message, picket_events::wire::ToAgent::Summed(summed)
                    if summed.request == 4711)
            })
        });
    }

    fn here(&self, name: &str) -> String {
        self.scratch.text(&format!("here/{name}"))
    }

    /// What it said, and what was told, when it has ended.
    fn end(self) -> (String, Record) {
        let (status, said, record) = self.end_somehow();
        assert!(status.success(), "{status:?}: {said}");
        (said, record)
    }

    /// As [`Denied::end`], however it has ended.
    fn end_somehow(mut self) -> (ExitStatus, String, Record) {
        let mut said = String::new();
        let mut output = self.child.stdout.take().unwrap();
        output.read_to_string(&mut said).unwrap();
        let status = wait(&mut self.child);
        let record = self.agent.finish();
        (status, said, record)
    }
}

/// Paths of the refused calls of a type.
fn refused(record: &Record, event: EventType) -> Vec<String> {
    let events = record.of(event).into_iter();
    let refused = events.filter(|event| event.outcome == REFUSED);
    let file = |event: &picket_events::Event| event.kind.file().map(|file| file.path.clone());
    refused.filter_map(file).collect()
}
