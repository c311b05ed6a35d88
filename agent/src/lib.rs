//! The sidecar's engine: takes what tracers tell, keeps the process trees, evaluates rules,
//! reports findings.
//!
//! * [`server`]: the Unix socket, and what goes in and out there.
//! * [`ingest`], [`pipeline`]: bytes to messages to findings, without I/O or clock.
//! * [`tree`], [`context`]: processes, and events as rules see them.
//! * [`finding`], [`scrub`], [`sink`]: the JSON line, what must not be in it, where it goes.
//! * [`relay`]: the conversation with the operator.
//! * [`rulefiles`], [`identity`], [`health`]: rules from disk, who we are, whether we are well.
//! * [`open_connections`]: what a quarantine leaves open.
//! * [`sessions`]: who opened a session by `kubectl exec`.
//!
//! The agent's binary is thin over this; `picket run` uses the same server with a sink and an
//! observer of its own:
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use std::sync::Arc;
//! use picket_agent::{finding::Finding, identity::Identity, pipeline::Pipeline};
//! use picket_agent::{rulefiles::RuleFiles, server::{Options, Server, Socket}};
//!
//! let socket = Socket::bind("/tmp/picket/agent.sock".as_ref(), 0o600)?;
//! let pipeline = Pipeline::new(RuleFiles::default().load(), Identity::default());
//! let print = |finding: Finding| println!("{}", finding.to_line());
//! let server = Server::start(socket, pipeline, Arc::new(print), Options::default());
//! // … run `picket-tracer trace --socket /tmp/picket/agent.sock -- CMD` …
//! server.shutdown().await;
//! # Ok(())
//! # }
//! ```

pub mod accounts;
mod closer;
pub mod context;
pub mod finding;
mod hashes;
pub mod health;
mod hostnames;
pub mod identity;
pub mod ingest;
pub mod open_connections;
pub mod pipeline;
mod randomness;
pub mod relay;
pub mod rulefiles;
pub mod samples;
pub mod scrub;
pub mod server;
pub mod sessions;
mod shares;
pub mod sink;
pub mod tree;
