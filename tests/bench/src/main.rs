//! What tracing costs: each workload untraced, under the bare filter, traced, and under
//! strace, interleaved in one run, as ratios with their spread.
//!
//! `cargo run -p picket-bench --release -- [WORKLOAD]…`; `make bench` measures the binary that
//! is shipped. Nothing here passes or fails by its figures: `docs/performance.md` says what to
//! make of them. All load stays on this machine's loopback interface.

mod flood;
mod footprint;
mod loops;
mod reader;
mod reads;
mod report;
mod rounds;
mod run;
mod servers;
mod variant;
mod workload;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};

/// Measures what tracing costs.
#[derive(Parser)]
#[command(name = "picket-bench", version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(flatten)]
    measure: Measure,
    #[command(subcommand)]
    part: Option<Part>,
}

#[derive(Args)]
struct Measure {
    /// Workloads to run; all when none is named (`--list` names them).
    workloads: Vec<String>,
    /// Rounds; each runs every variant once.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Only these variants (`untraced` is always run).
    #[arg(long, value_delimiter = ',')]
    variants: Vec<variant::Variant>,
    /// The tracer to measure; without it the one that is built into this program.
    #[arg(long, value_name = "PROGRAM")]
    tracer: Option<PathBuf>,
    /// Read events and throw them away instead of evaluating the default rules on them.
    #[arg(long)]
    no_rules: bool,
    /// Where to write the figures as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Run a hundredth of each workload, to see that it works; the figures say nothing.
    #[arg(long)]
    quick: bool,
    /// Leave out size, memory, start and exit time.
    #[arg(long)]
    no_footprint: bool,
    /// Have the tracer do without what kernels after 5.10 offer it, wake-ups on the same processor above
    /// all.
    #[arg(long)]
    like_old_kernels: bool,
    /// Name the workloads and end.
    #[arg(long)]
    list: bool,
}

/// What this program runs itself as.
#[derive(Subcommand)]
enum Part {
    /// The tracer, as `picket-tracer` takes its arguments.
    #[command(hide = true, disable_help_flag = true)]
    Tracer {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Runs a command under a filter that lets every call pass.
    #[command(hide = true)]
    FilterOnly {
        #[arg(long)]
        interest: picket_events::Interest,
        #[arg(last = true)]
        command: Vec<OsString>,
    },
    /// Runs a command behind a tracer that lets every call run and does nothing else.
    #[command(hide = true)]
    StopsOnly {
        #[arg(long)]
        interest: picket_events::Interest,
        #[arg(long)]
        like_old_kernels: bool,
        #[arg(last = true)]
        command: Vec<OsString>,
    },
    /// The other end of the tracer's socket.
    #[command(hide = true)]
    Reader(reader::What),
    /// Sends made-up events as the tracer sends its own, so many a second.
    Flood(flood::Flood),
    /// Which ways to read a file the default rules get to see.
    Reads(reads::Reads),
    /// A loop over one call.
    #[command(hide = true)]
    Loop(loops::Loop),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match arguments.part {
        Some(Part::Tracer { arguments }) => return picket_tracer::main(arguments),
        Some(Part::FilterOnly { interest, command }) => {
            return picket_tracer::bench::filter_only(&interest, &command);
        }
        Some(Part::StopsOnly {
            interest,
            like_old_kernels,
            command,
        }) => {
            return picket_tracer::bench::stops_only(&interest, like_old_kernels, &command);
        }
        Some(Part::Reader(what)) => reader::run(&what),
        Some(Part::Flood(what)) => flood::run(&what),
        Some(Part::Reads(what)) => reads::run(&what),
        Some(Part::Loop(what)) => loops::run(&what),
        None => measure(&arguments.measure),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("picket-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure(what: &Measure) -> anyhow::Result<()> {
    if what.list {
        for workload in workload::ALL {
            println!("{:<12} {}", workload.name, workload.about);
        }
        return Ok(());
    }
    let chosen = workload::choose(&what.workloads)?;
    let scratch = tempfile::Builder::new().prefix("picket-bench-").tempdir()?;
    // Servers that give up root have to reach what is in it.
    run::open_to_all(scratch.path())?;
    let behind = match what.no_rules {
        true => reader::Behind::Nobody,
        false => reader::Behind::DefaultRules,
    };
    let reader = reader::Reader::start(scratch.path(), behind)?;
    let denying = reader::Reader::start(scratch.path(), reader::Behind::Denials)?;
    let tracer = what.tracer.as_deref().map(run::from_anywhere).transpose()?;
    let effort = match what.quick {
        true => workload::Effort::Quick,
        false => workload::Effort::Full,
    };
    let setup = variant::Setup::new(&reader, &denying, tracer, effort)?
        .like_old_kernels(what.like_old_kernels);
    let mut variants = vec![variant::Variant::Untraced];
    if what.variants.is_empty() {
        variants.extend(variant::Variant::OTHERS);
    } else {
        variants.extend(
            what.variants
                .iter()
                .filter(|v| **v != variant::Variant::Untraced),
        );
    }
    let measured = rounds::run(&chosen, &variants, what.rounds, &setup, scratch.path())?;
    let footprint = if what.no_footprint {
        None
    } else {
        Some(footprint::measure(&setup, what.rounds)?)
    };
    let report = report::Report::new(what.rounds, &setup, measured, footprint);
    print!("{report}");
    if let Some(path) = &what.json {
        let text = serde_json::to_string_pretty(&report)?;
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
