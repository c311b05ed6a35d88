//! `picket`: everything a person types.
//!
//! Two hidden commands run before anything else, because they must find a process with one
//! thread: `tracer` (this program re-executes itself as the tracer for `picket run`) and
//! `sandbox` (for `picket demo`).

mod arguments;
mod cluster;
mod columns;
mod complete;
mod crds;
mod demo;
mod diff;
mod doctor;
mod ecs;
mod event_line;
mod examples;
mod findings;
mod images;
mod inject;
mod quarantine;
mod rules;
mod run;
mod samples;
mod sandbox;
mod status;
mod terminal;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;

use arguments::{Arguments, Command};

/// A command line that is not understood (`EX_USAGE`): 2, as clap has it, is what `status --check`
/// says of a gap.
const MISUSE: u8 = 64;
/// `run` could not start its command, as `env` and `timeout` have it.
const NOT_RUN: u8 = 125;

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    match (
        words.get(1).and_then(|word| word.to_str()),
        words.get(2..).unwrap_or_default(),
    ) {
        (Some("tracer"), rest) => picket_tracer::main(rest.iter().cloned()),
        (Some("sandbox"), [stage, specification]) => {
            sandbox::main(&stage.to_string_lossy(), Path::new(specification))
        }
        _ => {
            complete::answer();
            let command = match Arguments::try_parse() {
                Ok(arguments) => arguments.command,
                Err(answer) => return misused(&answer),
            };
            // Whatever `run` gives otherwise is its command's.
            let failure = match command {
                Command::Run(_) => ExitCode::from(NOT_RUN),
                _ => ExitCode::FAILURE,
            };
            execute(command).unwrap_or_else(|error| {
                eprintln!("picket: {}", cluster::in_words(error.as_ref()));
                failure
            })
        }
    }
}

/// Shows help, or what is wrong with a command line.
fn misused(answer: &clap::Error) -> ExitCode {
    let _ = answer.print();
    match answer.use_stderr() {
        true => ExitCode::from(MISUSE),
        false => ExitCode::SUCCESS,
    }
}

fn execute(command: Command) -> anyhow::Result<ExitCode> {
    let success = |good| {
        if good {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    };
    match command {
        Command::Run(arguments) => Ok(run::run(&arguments)?),
        Command::Inject(arguments) => inject::inject(&arguments).map(success).context("inject"),
        Command::Diff(arguments) => inject::diff(&arguments).map(success).context("diff"),
        Command::Uninject(arguments) => inject::uninject(&arguments)
            .map(success)
            .context("uninject"),
        Command::Explain(arguments) => inject::explain(&arguments).map(success).context("explain"),
        Command::Ecs(command) => ecs::ecs(&command).map(success).context("ecs"),
        Command::Crds(arguments) => {
            crds::crds(&arguments).context("crds")?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Rules(command) => Ok(success(rules::rules(&command)?)),
        Command::Samples(arguments) => {
            samples::samples(&arguments)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Status(arguments) => status::status(&arguments).context("status"),
        Command::Findings(arguments) => findings::findings(&arguments)
            .map(|()| ExitCode::SUCCESS)
            .context("findings"),
        Command::Quarantine(arguments) => quarantine::set(&arguments, true)
            .map(|()| ExitCode::SUCCESS)
            .context("quarantine"),
        Command::Unquarantine(arguments) => quarantine::set(&arguments, false)
            .map(|()| ExitCode::SUCCESS)
            .context("unquarantine"),
        Command::Completion { shell } => {
            complete::print(shell).context("completion")?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Demo(arguments) => demo::demo(&arguments).map(success).context("demo"),
        Command::Doctor(arguments) => doctor::doctor(&arguments).context("doctor"),
        Command::Probe { json } => {
            let words = std::iter::once("probe").chain(json.then_some("--json"));
            Ok(picket_tracer::main(words.map(OsString::from)))
        }
    }
}
