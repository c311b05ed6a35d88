//! Completion in a shell: commands, flags, and names of fields and rules.

use std::ffi::OsStr;
use std::io::Write as _;

use anyhow::Context as _;
use clap::CommandFactory as _;
use clap_complete::engine::CompletionCandidate;
use clap_complete::env::{CompleteEnv, Shells};
use picket_agent::rulefiles::RuleFiles;
use picket_rules::Catalogue;
use picket_rules::tools::describe;

use crate::arguments::Arguments;

/// With this in the environment, a shell asks what a command line can go on with.
const VARIABLE: &str = "PICKET_COMPLETE";

/// Answers a shell that asks, and ends then.
pub(crate) fn answer() {
    CompleteEnv::with_factory(Arguments::command)
        .var(VARIABLE)
        .complete();
}

/// Prints what a shell has to run to ask.
///
/// # Errors
/// When standard output cannot be written.
pub(crate) fn print(shell: clap_complete::Shell) -> anyhow::Result<()> {
    let shells = Shells::builtins();
    let completer = shells
        .completer(&shell.to_string())
        .with_context(|| format!("nothing is known about {shell}"))?;
    let mut script = Vec::new();
    completer.write_registration(VARIABLE, "picket", "picket", "picket", &mut script)?;
    std::io::stdout().write_all(&script)?;
    Ok(())
}

/// Event types and fields, one part of a name after the other.
pub(crate) fn field(current: &OsStr) -> Vec<CompletionCandidate> {
    let Some(current) = current.to_str() else {
        return Vec::new();
    };
    let catalogue = Catalogue::standard();
    let about = |name: &str| describe::field(&catalogue, name).map(|(field, _)| field.about);
    let mut candidates = Vec::new();
    if !current.contains('.') {
        let events = describe::events(&catalogue).into_iter();
        for event in events.filter(|event| event.name.starts_with(current)) {
            candidates.push(CompletionCandidate::new(event.name).help(Some(event.about.into())));
        }
    }
    for name in describe::complete(&catalogue, current) {
        let help = about(&name).map(Into::into);
        candidates.push(CompletionCandidate::new(name).help(help));
    }
    candidates
}

/// Ids of the built-in rules.
pub(crate) fn rule(current: &OsStr) -> Vec<CompletionCandidate> {
    let Some(current) = current.to_str() else {
        return Vec::new();
    };
    let loaded = RuleFiles::default().load();
    let rules = loaded.rules.rules().iter();
    rules
        .filter(|rule| rule.id.starts_with(current))
        .map(|rule| CompletionCandidate::new(&rule.id).help(Some(rule.meaning().title.into())))
        .collect()
}
