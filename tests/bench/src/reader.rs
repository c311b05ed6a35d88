//! The other end of the tracer's socket, in a process of its own: the agent's server with the
//! default rules, or somebody who reads and throws away.

use std::io::Read;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::bail;
use picket_agent::finding::Finding;
use picket_agent::identity::Identity;
use picket_agent::pipeline::Pipeline;
use picket_agent::rulefiles::RuleFiles;
use picket_agent::server::{Options, Server, Socket};

use crate::run::{Background, command};

/// A running reader.
pub(crate) struct Reader {
    socket: PathBuf,
    _process: Background,
}

impl Reader {
    pub(crate) fn start(directory: &Path, no_rules: bool) -> anyhow::Result<Self> {
        let socket = directory.join("agent.sock");
        let own = std::env::current_exe()?;
        let mut words = vec![
            "reader".into(),
            "--socket".into(),
            socket.clone().into_os_string(),
        ];
        if no_rules {
            words.push("--no-rules".into());
        }
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

/// Reads until it is killed.
pub(crate) fn run(socket: &Path, no_rules: bool) -> anyhow::Result<()> {
    if no_rules {
        throw_away(socket)
    } else {
        evaluate(socket)
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

fn evaluate(socket: &Path) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let socket = Socket::bind(socket, 0o666)?;
        let pipeline = Pipeline::new(RuleFiles::default().load(), Identity::default());
        let sink = Arc::new(|_: Finding| {});
        let _server = Server::start(socket, pipeline, sink, Options::default());
        std::future::pending::<()>().await;
        Ok(())
    })
}
