//! How many events a second tracer and agent carry: the tracer's own transport, filled with
//! made-up opens at a given rate, and the agent's server with the default rules behind it.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use picket_tracer::bench;

/// What is sent.
#[derive(Args)]
pub(crate) struct Flood {
    /// The reader's socket; without it, one is started.
    #[arg(long)]
    socket: Option<PathBuf>,
    /// Events a second.
    #[arg(long, default_value_t = 200_000)]
    rate: u32,
    /// For so many seconds.
    #[arg(long, default_value_t = 10)]
    seconds: u32,
}

pub(crate) fn run(what: &Flood) -> anyhow::Result<()> {
    let scratch = tempfile::Builder::new().prefix("picket-flood-").tempdir()?;
    let reader;
    let socket = match &what.socket {
        Some(socket) => socket.as_path(),
        None => {
            reader =
                crate::reader::Reader::start(scratch.path(), crate::reader::Behind::DefaultRules)?;
            reader.socket()
        }
    };
    let limit = Duration::from_secs(what.seconds.into());
    let flood = bench::flood(socket, what.rate, limit)?;
    println!(
        "{} events in {:.2} s, {:.0} a second; {} dropped; the last were written {:.0} ms after they were made",
        flood.events,
        flood.elapsed.as_secs_f64(),
        flood.events as f64 / flood.elapsed.as_secs_f64(),
        flood.dropped,
        flood.flushed.as_secs_f64() * 1e3
    );
    Ok(())
}
