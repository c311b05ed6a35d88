//! `picket-agent`: the sidecar.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use picket_agent::health::{self, Responder};
use picket_agent::identity::{Identity, Mode};
use picket_agent::pipeline::{LoadedRules, Pipeline};
use picket_agent::relay::client::Rules;
use picket_agent::relay::{Access, Client, Relayed};
use picket_agent::rulefiles::{self, RuleFiles};
use picket_agent::server::{Options, Server, Socket, now};
use picket_agent::sessions::Sessions;
use picket_agent::sink::{Lines, Sink};
use tokio::signal::unix::{SignalKind, signal};

/// The binary is linked with musl, whose allocator is slow, and taking in events is little but
/// allocating. Of those that are fast this one takes the least memory, which every pod pays.
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

/// Where lists are mounted.
const LISTS: &str = "/etc/picket/lists";

/// Receives events from tracers, evaluates rules, writes findings to standard output.
#[derive(Parser)]
#[command(name = "picket-agent", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serves tracers until SIGTERM; SIGHUP loads rules and lists anew, SIGUSR1 writes samples.
    Run(Run),
    /// Has the agent of this container write a sample of each finding type.
    Samples,
    /// Exits 0 when the agent is well, 1 otherwise, and says so in one line.
    Health {
        /// The agent's health socket.
        #[arg(long, default_value = "/picket/run/health.sock")]
        socket: PathBuf,
    },
}

#[derive(Args)]
struct Run {
    /// Where tracers connect.
    #[arg(long, default_value = "/picket/run/agent.sock")]
    socket: PathBuf,
    /// A policy file, or a directory of them.
    #[arg(long = "rules", value_name = "PATH")]
    rules: Vec<PathBuf>,
    /// A list file that rules compare with (.ips, .domains, .hashes, .names), or a directory
    /// of them; /etc/picket/lists where there is one and nothing else is said.
    #[arg(long = "lists", value_name = "PATH")]
    lists: Vec<PathBuf>,
    /// Leaves the built-in rules and lists out.
    #[arg(long)]
    no_default_rules: bool,
    /// Monitor reports what actions of rules would have done (kill, deny, quarantine); Enforce
    /// does it.
    #[arg(long, env = "PICKET_MODE", default_value = "Monitor")]
    mode: Mode,
    /// Seconds to wait for tracers' last events after SIGTERM.
    #[arg(long, env = "PICKET_DRAIN_SECONDS", default_value_t = 20)]
    drain_seconds: u64,
    /// Public keys of the operator, which say who opened a session by `kubectl exec`: Ed25519 in
    /// base64, commas between them.
    #[arg(long, env = "PICKET_SESSION_KEYS", default_value = "")]
    session_keys: String,
    /// Seconds between heartbeats; 0 for none.
    #[arg(long, env = "PICKET_HEARTBEAT_SECONDS", default_value_t = 300)]
    heartbeat_seconds: u64,
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Health { socket } => match health::ask(&socket, Duration::from_secs(3)) {
            Ok(line) => {
                println!("{line}");
                ExitCode::SUCCESS
            }
            Err(error) => {
                println!("{error}");
                ExitCode::FAILURE
            }
        },
        Command::Samples => match ask_for_samples() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("picket-agent: {error:#}");
                ExitCode::FAILURE
            }
        },
        Command::Run(run) => match start(run) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("picket-agent: {error:#}");
                ExitCode::FAILURE
            }
        },
    }
}

/// The agent of a container is its first process.
fn ask_for_samples() -> anyhow::Result<()> {
    let own = std::fs::read_link("/proc/self/exe").context("cannot tell what this is")?;
    let first = std::fs::read_link("/proc/1/exe").ok();
    anyhow::ensure!(
        first == Some(own),
        "the first process here is not the agent; run this in its container, as with \
         `kubectl exec POD -c picket-agent -- /picket-agent samples`"
    );
    kill(Pid::from_raw(1), Signal::SIGUSR1).context("cannot signal the agent")?;
    println!("the samples are on their way through the agent's outputs");
    Ok(())
}

fn start(run: Run) -> anyhow::Result<()> {
    let log = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_max_level(tracing::Level::WARN);
    // In a pod, standard error ends up in the same log as the findings: JSON there too.
    match std::env::var_os("PICKET_POD_NAME") {
        Some(_) => log.json().init(),
        None => log.init(),
    }
    // One thread is enough for what a pod does, and a second one is memory that every pod pays.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(serve(run))
}

async fn serve(run: Run) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut samples = signal(SignalKind::user_defined1())?;
    // Sockets first: a tracer that starts now finds us, and waits for the rules.
    let socket = Socket::bind(&run.socket, 0o666)?;
    let responder = Responder::start(Socket::bind(&health::socket_beside(&run.socket), 0o600)?);

    let mut identity = Identity::from_environment(|name| std::env::var(name).ok());
    identity.mode = run.mode;
    identity.started_at = now();
    let files = RuleFiles {
        defaults: !run.no_default_rules,
        paths: run.rules.clone(),
        lists: match run.lists.is_empty() && Path::new(LISTS).is_dir() {
            true => vec![LISTS.into()],
            false => run.lists.clone(),
        },
    };
    let loaded = load(&files, &run);
    let options = Options {
        drain: Duration::from_secs(run.drain_seconds),
        heartbeat: Duration::from_secs(run.heartbeat_seconds),
        ..Options::default()
    };
    let lines = Arc::new(Lines::stdout().context("cannot start the output thread")?);
    let (sink, relay) = relay(&run, lines);
    let pipeline = Pipeline::new(loaded, identity).with_sessions(sessions(&run.session_keys));
    let server = Server::start(socket, pipeline, sink, options);
    responder.watch(&server);
    let own = OwnRules {
        files: &files,
        run: &run,
    };
    let mut conversation = Box::pin(async {
        match &relay {
            Some(relay) => relay.run(&server, &own).await,
            None => std::future::pending().await,
        }
    });
    loop {
        tokio::select! {
            () = &mut conversation => {}
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = samples.recv() => server.emit_samples().await,
            _ = hangup.recv() => {
                // Rules from the relay are not to be put out of use by an old habit.
                let others = match &relay {
                    Some(relay) => relay.has_rules().await,
                    None => false,
                };
                if !others {
                    server.replace_rules(load(&files, &run)).await;
                }
            }
        }
    }
    drop(conversation);
    let report = server.report().await;
    let counters = server.shutdown().await;
    if let Some(relay) = &relay {
        relay.last_words(report).await;
    }
    tracing::info!(
        events = counters.events,
        findings = counters.findings,
        "ended"
    );
    Ok(())
}

/// Keys that cannot be used cost the names of sessions, nothing else.
fn sessions(keys: &str) -> Sessions {
    Sessions::with_keys(keys).unwrap_or_else(|error| {
        tracing::error!(%error, "nobody can be told who opens sessions");
        Sessions::default()
    })
}

/// Where findings go, and the conversation with the relay where there is one. A relay that
/// cannot be used costs what only it can do, nothing else.
fn relay(run: &Run, lines: Arc<Lines>) -> (Arc<dyn Sink>, Option<Client>) {
    let kept = run.socket.with_file_name("relay-trust.pem");
    match Access::from_environment(|name| std::env::var(name).ok(), &kept) {
        Ok(Some(access)) => {
            let (sink, outbox) = Relayed::before(lines);
            (Arc::new(sink), Some(Client::new(access, outbox)))
        }
        Ok(None) => (lines, None),
        Err(error) => {
            tracing::error!(%error, "the relay cannot be used");
            (lines, None)
        }
    }
}

/// The rules that this agent has of its own.
struct OwnRules<'a> {
    files: &'a RuleFiles,
    run: &'a Run,
}

impl Rules for OwnRules<'_> {
    fn own(&self) -> LoadedRules {
        load(self.files, self.run)
    }

    fn announce(&self, loaded: &LoadedRules) {
        announce(loaded, self.run);
    }
}

/// Loads the rules, says what is wrong with them, and tells tracers what they need.
fn load(files: &RuleFiles, run: &Run) -> LoadedRules {
    let loaded = files.load();
    announce(&loaded, run);
    loaded
}

fn announce(loaded: &LoadedRules, run: &Run) {
    for complaint in rulefiles::complaints(loaded) {
        tracing::error!("{complaint}");
    }
    let path = run.socket.with_file_name("interest");
    if let Err(error) = rulefiles::publish_interest(&path, &loaded.rules.interest()) {
        // Tracers then go by the interest that the webhook wrote into their flags.
        tracing::warn!(%error, path = %path.display(), "cannot write the interest file");
    }
    let path = run.socket.with_file_name("watched");
    if let Err(error) = rulefiles::publish_watched(&path, &loaded.rules.watched_files()) {
        // Tracers then watch files once they have reached us.
        tracing::warn!(%error, path = %path.display(), "cannot write the file of what is watched");
    }
}
