//! The other end of the tracer's socket, in a process of its own: the agent's server with the
//! default rules, or somebody who reads and throws away.

use std::io::Read;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::bail;
use picket_agent::context::Scene;
use picket_agent::finding::Finding;
use picket_agent::identity::{Identity, Mode};
use picket_agent::pipeline::{Observer, Pipeline};
use picket_agent::rulefiles::RuleFiles;
use picket_agent::server::{Options, Server, Socket};
use picket_events::EventKind;
use serde::Serialize;

use crate::run::{Background, command};

/// A running reader.
pub(crate) struct Reader {
    socket: PathBuf,
    _process: Background,
}

/// Who is at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behind {
    /// The agent's server with the default rules.
    DefaultRules,
    /// The same, and rules that deny: see [`denying`].
    Denials,
    /// Somebody who throws away what he reads.
    Nobody,
}

impl Reader {
    pub(crate) fn start(directory: &Path, behind: Behind) -> anyhow::Result<Self> {
        let (name, flag) = match behind {
            Behind::DefaultRules => ("agent.sock", None),
            Behind::Denials => ("denying.sock", Some("--deny")),
            Behind::Nobody => ("agent.sock", Some("--no-rules")),
        };
        let socket = directory.join(name);
        let own = std::env::current_exe()?;
        let mut words = vec![
            "reader".into(),
            "--socket".into(),
            socket.clone().into_os_string(),
        ];
        words.extend(flag.map(Into::into));
        let process = Background::start(command(&[own.into_os_string()], &words))?;
        let start = Instant::now();
        while UnixStream::connect(&socket).is_err() {
            if start.elapsed() > Duration::from_secs(20) {
                bail!("the reader of events does not start");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(Self {
            socket,
            _process: process,
        })
    }

    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }
}

/// What a reader does with what it reads.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct What {
    /// Where tracers connect.
    #[arg(long)]
    socket: PathBuf,
    /// Read events and throw them away.
    #[arg(long)]
    no_rules: bool,
    /// Deny some opens and execs besides, of files that nobody opens.
    #[arg(long)]
    deny: bool,
    /// Write counts as a line of JSON every tenth of a second; opens of this path are counted
    /// apart.
    #[arg(long, value_name = "PATH")]
    count: Option<String>,
}

/// What has been read so far.
#[derive(Debug, Default, Serialize)]
struct Counts {
    /// Events that arrived.
    events: AtomicU64,
    /// Of these, opens of the path that is counted apart.
    opens: AtomicU64,
    /// Of these, opens of which it is not known who made them.
    unattributed: AtomicU64,
    /// Events that the agent reports as lost.
    lost: AtomicU64,
    /// Of these, opens.
    lost_opens: AtomicU64,
}

/// Reads until it is killed.
pub(crate) fn run(what: &What) -> anyhow::Result<()> {
    if what.no_rules {
        throw_away(&what.socket)
    } else {
        evaluate(what)
    }
}

fn throw_away(socket: &Path) -> anyhow::Result<()> {
    let listener = UnixListener::bind(socket)?;
    for stream in listener.incoming() {
        let mut stream = stream?;
        std::thread::spawn(move || {
            let mut buffer = vec![0; 64 * 1024];
            while matches!(stream.read(&mut buffer), Ok(1..)) {}
        });
    }
    Ok(())
}

/// Counts what the pipeline sees.
struct Counter {
    counts: Arc<Counts>,
    path: String,
}

impl Observer for Counter {
    fn event(&mut self, scene: &Scene<'_>) {
        self.counts.events.fetch_add(1, Ordering::Relaxed);
        if let EventKind::Open { file, .. } = &scene.event.kind
            && file.path == self.path
        {
            self.counts.opens.fetch_add(1, Ordering::Relaxed);
            if scene.event.pid == 0 {
                self.counts.unattributed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// The default rules, and two that deny: any open of some files, and the exec of one program. None
/// of them is there, but which file a call means has to be found out for each call.
pub(crate) fn denying(directory: &Path) -> anyhow::Result<RuleFiles> {
    let policy = directory.join("denying.policy");
    let text = "rules:\n\
        - id: bench_deny_open\n  expression: open.file.path =~ \"/srv/picket-bench/denied/*\"\n  \
        actions:\n  - deny: {}\n\
        - id: bench_deny_exec\n  expression: exec.file.path == \"/srv/picket-bench/denied\"\n  \
        actions:\n  - deny: {}\n";
    std::fs::write(&policy, text)?;
    let mut files = RuleFiles::default();
    files.paths.push(policy);
    Ok(files)
}

/// The default rules, and one about the path that is counted apart, which has tracers watch it as
/// they watch the default rules' files. It finds nothing.
fn rules(what: &What) -> anyhow::Result<RuleFiles> {
    let mut files = RuleFiles::default();
    if let Some(path) = &what.count {
        let policy = what.socket.with_extension("policy");
        let text = format!(
            "rules:\n- id: counted_path\n  expression: >-\n    open.file.path == \"{path}\" \
             && process.comm == \"none\" \
             && open.flags & (O_CLOEXEC|O_NONBLOCK|O_DIRECTORY|O_PATH) == 0\n"
        );
        std::fs::write(&policy, text)?;
        files.paths.push(policy);
    }
    Ok(files)
}

/// Takes the counts out of a report of losses.
fn count_losses(counts: &Counts, finding: &Finding) -> Option<()> {
    let finding = serde_json::to_value(finding).ok()?;
    let lost = finding.get("lost_events")?;
    counts
        .lost
        .fetch_add(lost.get("count")?.as_u64()?, Ordering::Relaxed);
    let opens = lost.get("by_type")?.get("open")?.as_u64()?;
    counts.lost_opens.fetch_add(opens, Ordering::Relaxed);
    Some(())
}

fn evaluate(what: &What) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let socket = Socket::bind(&what.socket, 0o666)?;
        let directory = what.socket.parent().unwrap_or(Path::new("."));
        let (rules, mode) = match what.deny {
            true => (denying(directory)?, Mode::Enforce),
            false => (rules(what)?, Mode::Monitor),
        };
        let identity = Identity {
            mode,
            ..Identity::default()
        };
        let mut pipeline = Pipeline::new(rules.load(), identity);
        let counts = Arc::new(Counts::default());
        if let Some(path) = &what.count {
            pipeline.observe(Box::new(Counter {
                counts: Arc::clone(&counts),
                path: path.clone(),
            }));
        }
        let losses = Arc::clone(&counts);
        let sink = Arc::new(move |finding: Finding| {
            count_losses(&losses, &finding);
        });
        let _server = Server::start(socket, pipeline, sink, Options::default());
        if what.count.is_none() {
            std::future::pending::<()>().await;
        }
        loop {
            println!("{}", serde_json::to_string(&*counts)?);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
}
