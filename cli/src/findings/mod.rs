//! `picket findings`: what agents found, of all pods, from the relay.
//!
//! * [`cluster`]: who leads, whom to trust there, and as whom to come: asked of the API server.
//! * [`connection`]: to the replica that leads, through the API server or by an address.
//! * [`filter`]: which are wanted; [`show`]: how they look.

mod cluster;
mod connection;
mod filter;
mod show;

use std::io::Write;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;
use tokio::time::sleep;

use crate::arguments;
use crate::cluster::{Cluster, REMEDY, in_words};
use cluster::{Access, Installation};
use connection::{Lines, Place};
use filter::{Filter, Shown};

/// First pause before another try; it doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause before another try.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// How often the replica that leads is looked for before that is an error: the lead moves within
/// 18 seconds.
const TRIES: u32 = 6;

/// Why findings cannot be read. The name of each is what a person can look up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// Picket is not there, or somewhere else.
    #[error(
        "OperatorMissing: {what} is not there; name the operator's namespace with \
         --operator-namespace"
    )]
    OperatorMissing {
        /// The object that was looked for.
        what: String,
    },
    /// No replica has the lead.
    #[error("NoLeader: no replica of the operator leads ({0}); `picket doctor --cluster` says why")]
    NoLeader(String),
    /// A right is missing.
    #[error("NotAllowed: {server}; the right needed is {right}")]
    NotAllowed {
        /// The right that is missing.
        right: &'static str,
        /// What the API server said.
        server: String,
    },
    /// Agents have no relay in this installation, or this reader may not read.
    #[error("Refused: the relay says {0}")]
    Refused(String),
    /// The relay does not answer.
    #[error("RelayUnreachable: {0}")]
    Unreachable(String),
    /// Somebody else answers.
    #[error("RelayUntrusted: {0}")]
    Untrusted(String),
    /// The API server does not answer, or not as it should.
    #[error("ApiUnreachable: {server}: {}; {REMEDY}", in_words(source))]
    Api {
        /// Where it should be.
        server: String,
        /// What went wrong.
        source: kube::Error,
    },
}

impl Fault {
    /// Whether the next moment may be better: the lead moves, a process starts anew.
    fn passes(&self) -> bool {
        match self {
            Self::NoLeader(_) | Self::Unreachable(_) | Self::Api { .. } => true,
            Self::OperatorMissing { .. }
            | Self::NotAllowed { .. }
            | Self::Refused(_)
            | Self::Untrusted(_) => false,
        }
    }
}

/// Shows the last findings, or also those that come.
///
/// # Errors
/// A [`Fault`], or when nothing can be written.
pub(crate) fn findings(arguments: &arguments::Findings) -> anyhow::Result<()> {
    tokio::runtime::Runtime::new()
        .context("cannot start")?
        .block_on(show_all(arguments))
}

async fn show_all(arguments: &arguments::Findings) -> anyhow::Result<()> {
    let Cluster { client, server } = Cluster::find().await?;
    let reading = Reading {
        installation: Installation {
            client,
            server,
            namespace: arguments.operator_namespace.clone(),
            configuration: arguments.webhook_configuration.clone(),
        },
        arguments,
        filter: Filter::of(arguments),
    };
    if arguments.watch {
        reading.follow().await
    } else {
        reading.once().await
    }
}

struct Reading<'a> {
    installation: Installation,
    arguments: &'a arguments::Findings,
    filter: Filter,
}

impl Reading<'_> {
    /// Connects to the replica that leads and asks for the findings.
    async fn open(&self) -> Result<Lines, Fault> {
        let access: Access = self.installation.access().await?;
        let place = match &self.arguments.relay {
            Some(address) => Place::Address(address),
            None => Place::Pod(self.installation.leader().await?),
        };
        connection::open(&self.installation, place, &access, self.arguments.watch).await
    }

    /// As [`Reading::open`], with patience while the lead moves.
    async fn open_soon(&self) -> Result<Lines, Fault> {
        let mut pause = FIRST_PAUSE;
        for turn in 1..TRIES {
            match self.open().await {
                // An API server that has never answered is not about to: the address is wrong.
                Err(fault @ Fault::Api { .. }) if turn == 1 => return Err(fault),
                Err(fault) if fault.passes() => {
                    eprintln!("picket: findings: {fault}; trying again");
                }
                done => return done,
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        self.open().await
    }

    async fn once(&self) -> anyhow::Result<()> {
        let mut lines = self.open_soon().await?;
        let mut wanted = Vec::new();
        while let Some(line) = lines.next().await? {
            wanted.extend(self.filter.take(&line));
        }
        let text = match self.arguments.output {
            arguments::Output::Table => show::table(&wanted),
            arguments::Output::Json => wanted.iter().map(show::json).collect(),
        };
        std::io::stdout().write_all(text.as_bytes())?;
        Ok(())
    }

    /// Shows what there is and what comes, whichever replica leads, until nobody reads it.
    async fn follow(&self) -> anyhow::Result<()> {
        let mut lines = self.open_soon().await?;
        let mut shown = Shown::default();
        let mut pause = FIRST_PAUSE;
        loop {
            let fault = loop {
                match lines.next().await {
                    Ok(Some(line)) => {
                        pause = FIRST_PAUSE;
                        // After a reconnection the same ones come once more.
                        if shown.is_new(&line)
                            && let Some(finding) = self.filter.take(&line)
                        {
                            self.write(&finding)?;
                        }
                    }
                    Ok(None) => break Fault::Unreachable("the connection ended".to_owned()),
                    Err(fault) => break fault,
                }
            };
            eprintln!("picket: findings: {fault}; trying again");
            lines = loop {
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
                match self.open().await {
                    Ok(lines) => break lines,
                    Err(fault) if fault.passes() => {}
                    Err(fault) => return Err(fault.into()),
                }
            };
        }
    }

    fn write(&self, finding: &Value) -> std::io::Result<()> {
        let text = match self.arguments.output {
            arguments::Output::Table => show::row(finding),
            arguments::Output::Json => show::json(finding),
        };
        let mut out = std::io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }
}
