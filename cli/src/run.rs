//! `picket run`: traces a command and evaluates rules in this process.

use std::fs::File;
use std::io::{self, Write, stderr};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitCode, ExitStatus};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use picket_agent::context::Scene;
use picket_agent::finding::Finding;
use picket_agent::identity::Identity;
use picket_agent::pipeline::{Counters, LoadedRules, Observer, Pipeline};
use picket_agent::rulefiles::{self, RuleFiles};
use picket_agent::server::{self, Options, Server, Socket, SocketError};
use picket_agent::sink::Sink;
use picket_events::Interest;
use picket_events::text::counted;
use tokio::signal::unix::{SignalKind, signal};

use crate::arguments;
use crate::event_line;
use crate::terminal::{self, Style};

/// The container's name in findings: there is none.
const CONTAINER: &str = "local";

/// Why a command could not be run under the tracer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    /// A rule does not load. The command is not run: whoever names a rule file wants it used.
    #[error("rules:\n{}", .0.join("\n"))]
    Rules(Vec<String>),
    /// The machine refused something.
    #[error("{what}: {source}")]
    Host {
        /// What was tried.
        what: String,
        /// The system's answer.
        source: io::Error,
    },
    /// The agent's socket could not be opened.
    #[error(transparent)]
    Socket(#[from] SocketError),
}

fn host(what: impl Into<String>) -> impl FnOnce(io::Error) -> RunError {
    move |source| RunError::Host {
        what: what.into(),
        source,
    }
}

/// Runs the command; the exit code is the command's.
///
/// # Errors
/// Only before the command was started.
pub(crate) fn run(arguments: &arguments::Run) -> Result<ExitCode, RunError> {
    let rules = load(&arguments.sources)?;
    let output = Output::open(arguments)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(host("start the agent"))?;
    let (status, counters) = runtime.block_on(trace(arguments, rules, Arc::clone(&output)))?;
    output.summary(&counters);
    Ok(exit_code(status))
}

/// Loads the rules that the arguments name.
///
/// # Errors
/// [`RunError::Rules`] with a line for each rule that does not load.
pub(crate) fn load(sources: &arguments::RuleSources) -> Result<LoadedRules, RunError> {
    let files = RuleFiles {
        defaults: !sources.no_default_rules,
        paths: sources.rules.clone(),
        lists: sources.lists.clone(),
    };
    let rules = files.load();
    let complaints = rulefiles::complaints(&rules);
    if complaints.is_empty() {
        Ok(rules)
    } else {
        Err(RunError::Rules(complaints))
    }
}

async fn trace(
    arguments: &arguments::Run,
    rules: LoadedRules,
    output: Arc<Output>,
) -> Result<(ExitStatus, Counters), RunError> {
    let folder = tempfile::Builder::new().prefix("picket-run-").tempdir();
    let folder = folder.map_err(host("make a temporary folder"))?;
    let path = folder.path().join("agent.sock");
    let interest = if arguments.verbose {
        Interest::everything()
    } else {
        rules.rules.interest()
    };
    let watched = rules.rules.watched_files();
    rulefiles::publish_watched(&path.with_file_name("watched"), &watched)
        .map_err(host("write what is watched"))?;
    let mut pipeline = Pipeline::new(
        rules,
        Identity {
            mode: arguments.mode,
            started_at: server::now(),
            ..Identity::default()
        },
    );
    if arguments.verbose {
        pipeline.observe(Box::new(Verbose(Arc::clone(&output))));
    }
    let options = Options {
        // There is one tracer, and it has ended by then.
        settle: Duration::from_millis(20),
        // What it sent has all been sent by then, and nobody minds waiting until it is read, which
        // takes its time where many rules find something on a busy machine.
        drain: Duration::from_secs(300),
        heartbeat: Duration::ZERO,
        ..Options::default()
    };
    let server = Server::start(Socket::bind(&path, 0o600)?, pipeline, output, options);

    let mut child = tracer(arguments, &path, &interest)
        .spawn()
        .map_err(host(format!(
            "start {}",
            arguments.command[0].to_string_lossy()
        )))?;
    let pid = nix::unistd::Pid::from_raw(child.id() as i32);
    let waiter = tokio::task::spawn_blocking(move || child.wait());
    let forwarder = tokio::spawn(forward_signals(pid));
    let status = waiter
        .await
        .map_err(io::Error::other)
        .and_then(|status| status);
    forwarder.abort();
    let counters = server.shutdown().await;
    Ok((status.map_err(host("wait for the command"))?, counters))
}

/// This program again, as the tracer (see `docs/decisions/0004`).
fn tracer(arguments: &arguments::Run, socket: &Path, interest: &Interest) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command
        .args(["tracer", "trace", "--container", CONTAINER, "--socket"])
        .arg(socket);
    command.arg("--interest").arg(interest.to_string());
    if arguments.require_tracing {
        command.arg("--require-tracing");
    }
    command.arg("--").args(&arguments.command);
    command
}

/// Signals of the terminal reach the whole foreground group, the command included: surviving
/// them is enough. One that was sent to this process alone is passed on.
async fn forward_signals(command: nix::unistd::Pid) -> io::Result<()> {
    use nix::sys::signal::{Signal, kill};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut quit = signal(SignalKind::quit())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    loop {
        let signal = tokio::select! {
            _ = interrupt.recv() => continue,
            _ = quit.recv() => continue,
            _ = terminate.recv() => Signal::SIGTERM,
            _ = hangup.recv() => Signal::SIGHUP,
        };
        // A command that has just ended needs no signal.
        let _ = kill(command, signal);
    }
}

/// The command's exit code; 128 + N after signal N, as shells have it.
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

/// Where findings go, and how they look.
struct Output {
    stream: Mutex<Box<dyn Write + Send>>,
    style: Style,
    json: bool,
    verbose: bool,
    /// Findings so far, of rules and of what is built in.
    findings: AtomicU64,
}

impl Output {
    fn open(arguments: &arguments::Run) -> Result<Arc<Self>, RunError> {
        let (stream, style): (Box<dyn Write + Send>, _) = match &arguments.output {
            Some(path) => {
                let file = File::create(path).map_err(host(format!("write {}", path.display())))?;
                let style = Style::detect(&file);
                (Box::new(file), style)
            }
            None => (Box::new(stderr()), Style::detect(&stderr())),
        };
        let (json, verbose) = (arguments.json, arguments.verbose);
        Ok(Arc::new(Self {
            stream: Mutex::new(stream),
            style,
            json,
            verbose,
            findings: AtomicU64::new(0),
        }))
    }

    fn write(&self, text: &str) {
        let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody is left to tell when standard error is closed.
        let _ = stream
            .write_all(text.as_bytes())
            .and_then(|()| stream.flush());
    }

    fn summary(&self, counters: &Counters) {
        let Counters {
            events, cut_off, ..
        } = counters;
        if *cut_off > 0 {
            eprintln!("picket: the tracer had not told everything yet: findings are missing");
        }
        if self.json {
            return;
        }
        let findings = self.findings.load(Ordering::Relaxed);
        let findings = counted(findings, "finding", "findings");
        let events = counted(*events, "event", "events");
        let text = format!("picket: {findings} in {events}");
        self.write(&format!("{}\n", self.style.dim(&text)));
    }
}

impl Sink for Output {
    fn emit(&self, finding: Finding) {
        let is_finding = finding.finding.is_some();
        if is_finding {
            self.findings.fetch_add(1, Ordering::Relaxed);
        }
        if self.json {
            self.write(&format!("{}\n", finding.to_line()));
            return;
        }
        if !is_finding && !self.verbose {
            return;
        }
        // One renderer for both of our commands: from the JSON that users see elsewhere.
        let value = serde_json::to_value(&finding).unwrap_or_default();
        self.write(&if is_finding {
            terminal::finding(&value, self.style)
        } else {
            terminal::internal(&value, self.style)
        });
    }
}

/// Prints every event.
struct Verbose(Arc<Output>);

impl Observer for Verbose {
    fn event(&mut self, scene: &Scene<'_>) {
        let line = if self.0.json {
            event_line::json(scene)
        } else {
            event_line::text(scene)
        };
        self.0.write(&format!("{line}\n"));
    }
}
