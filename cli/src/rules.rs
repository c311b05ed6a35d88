//! `picket rules`: thin over the rules library.

mod fields;

use std::fs::read_to_string;
use std::io::{self, BufRead, Read, Write, stdin, stdout};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use picket_agent::rulefiles::{RuleFiles, Sources};
use picket_events::Interest;
use picket_rules::tools::eval::Answer;
use picket_rules::tools::{bench, check, describe, eval, testing};
use picket_rules::{Catalogue, LoadOptions, RuleSet};
use serde::Serialize;

use crate::arguments::{self, Format};
use crate::run;

/// Longest line of `eval`, in bytes.
const MAX_LINE: usize = 16 << 20;

/// Carries out a `rules` command; false when something was found wrong.
///
/// # Errors
/// When a file cannot be read or standard output cannot be written.
pub(crate) fn rules(command: &arguments::Rules) -> anyhow::Result<bool> {
    use arguments::Rules;
    match command {
        Rules::Check {
            files,
            lists,
            format,
        } => check(files, lists, *format),
        Rules::Eval { fields } => evaluate(fields.as_deref()),
        Rules::Test {
            sources,
            files,
            format,
        } => test(sources, files, *format),
        Rules::Explain {
            sources,
            rule,
            format,
        } => explain(sources, rule, *format),
        Rules::List { sources, format } => list(sources, *format),
        Rules::Lists { sources, format } => lists(sources, *format),
        Rules::Fields {
            name,
            recursive,
            format,
        } => {
            print(&match format {
                Format::Text => fields::explain(name.as_deref(), *recursive)?,
                Format::Json => fields::json(name.as_deref())?,
            })?;
            Ok(true)
        }
        Rules::Bench {
            sources,
            events,
            format,
        } => measure(sources, *events, *format),
    }
}

/// What the built-in rules can use at all.
pub(crate) fn default_interest() -> Interest {
    RuleFiles::default().load().rules.interest()
}

fn load(sources: &arguments::RuleSources) -> anyhow::Result<Arc<RuleSet>> {
    Ok(run::load(sources)?.rules)
}

fn check(files: &[PathBuf], lists: &[PathBuf], format: Format) -> anyhow::Result<bool> {
    let files = RuleFiles {
        defaults: false,
        paths: files.to_vec(),
        lists: lists.to_vec(),
    };
    let Sources {
        policies,
        lists,
        unreadable,
    } = files.read();
    let options = LoadOptions {
        lists,
        ..LoadOptions::default()
    };
    if policies.is_empty() && unreadable.policies.is_empty() {
        anyhow::bail!(
            "no policy there: of a folder, *.policy, *.yaml and *.yml are taken, but no rule tests (*.test.yaml)"
        );
    }
    let mut check = check::check(&Catalogue::standard(), &policies, &options);
    check.report.policies.extend(unreadable.policies);
    check.report.lists.extend(unreadable.lists);
    match format {
        Format::Json => print(&(serde_json::to_string_pretty(&check)? + "\n"))?,
        Format::Text => print(&check.render(&policies, &options.lists))?,
    }
    Ok(check.is_ok())
}

fn evaluate(fields: Option<&Path>) -> anyhow::Result<bool> {
    let catalogue = match fields {
        Some(path) => {
            let text = read_to_string(path).with_context(|| path.display().to_string())?;
            Arc::new(Catalogue::from_json(&text).with_context(|| path.display().to_string())?)
        }
        None => Catalogue::standard(),
    };
    let mut input = stdin().lock();
    let mut line = Vec::new();
    while let Some(fits) = read_line(&mut input, &mut line).context("standard input")? {
        let answer = match std::str::from_utf8(&line) {
            _ if !fits => Answer::fault(format!("not a request: longer than {MAX_LINE} bytes")),
            Ok(line) if line.trim().is_empty() => continue,
            Ok(line) => eval::answer(&catalogue, line, now()),
            Err(error) => Answer::fault(format!("not a request: {error}")),
        };
        print(&(serde_json::to_string(&answer)? + "\n"))?;
    }
    Ok(true)
}

/// Reads the next line: `None` at the end, false when it is longer than [`MAX_LINE`] and was
/// passed over.
fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Option<bool>> {
    line.clear();
    let limit = MAX_LINE as u64 + 1;
    if input.by_ref().take(limit).read_until(b'\n', line)? == 0 {
        return Ok(None);
    }
    if line.len() <= MAX_LINE || line.ends_with(b"\n") {
        return Ok(Some(true));
    }
    input.skip_until(b'\n')?;
    Ok(Some(false))
}

/// Nanoseconds since the epoch.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
    })
}

/// The tests of a file, and what became of them.
#[derive(Serialize)]
struct Tested {
    file: PathBuf,
    tests: Vec<testing::Outcome>,
}

fn test(
    sources: &arguments::RuleSources,
    files: &[PathBuf],
    format: Format,
) -> anyhow::Result<bool> {
    let rules = load(sources)?;
    let mut tested = Vec::with_capacity(files.len());
    for path in files {
        let text = read_to_string(path).with_context(|| path.display().to_string())?;
        let outcomes = testing::run(&rules, &text).map_err(anyhow::Error::msg);
        tested.push(Tested {
            file: path.clone(),
            tests: outcomes.with_context(|| path.display().to_string())?,
        });
    }
    if format == Format::Json {
        print(&(serde_json::to_string_pretty(&tested)? + "\n"))?;
        let mut outcomes = tested.iter().flat_map(|file| &file.tests);
        return Ok(outcomes.all(testing::Outcome::passed));
    }
    let (mut passed, mut failed) = (0, 0);
    for Tested { file, tests } in &tested {
        let name = file.display();
        for outcome in tests {
            let verdict = if outcome.passed() { "ok" } else { "FAILED" };
            print(&format!("{verdict:<6} {name}: {}\n", outcome.name))?;
            for failure in &outcome.failures {
                print(&format!("       {failure}\n"))?;
            }
            *if outcome.passed() {
                &mut passed
            } else {
                &mut failed
            } += 1;
        }
    }
    print(&format!("{passed} passed, {failed} failed\n"))?;
    Ok(failed == 0)
}

fn explain(sources: &arguments::RuleSources, id: &str, format: Format) -> anyhow::Result<bool> {
    let rules = load(sources)?;
    let explained = describe::explain(&rules, id);
    if explained.is_empty() {
        let near = describe::nearest_rule(&rules, id);
        let near = near
            .map(|near| format!("did you mean {near}? "))
            .unwrap_or_default();
        anyhow::bail!("there is no rule {id}; {near}`picket rules list` lists them");
    }
    if format == Format::Json {
        print(&(serde_json::to_string_pretty(&explained)? + "\n"))?;
        return Ok(true);
    }
    for rule in &explained {
        let row = |label: &str, text: &str| match text.trim() {
            "" => String::new(),
            text => format!("{label:<12} {}\n", text.replace('\n', "\n             ")),
        };
        let listed = &rule.rule;
        print(&format!(
            "{} ({}, {})\n",
            listed.id, listed.event, listed.policy
        ))?;
        for (label, text) in [
            ("title", rule.title.as_str()),
            ("severity", &listed.severity),
            ("finding", &listed.finding),
            ("technique", &rule.technique),
            ("description", &rule.description),
            ("remediation", &rule.remediation),
            ("expression", &rule.expression),
            ("fields", &rule.fields.join(", ")),
            ("actions", &rule.actions.join(", ")),
            ("limit", &rule.limit),
        ] {
            print(&row(label, text))?;
        }
    }
    Ok(true)
}

fn list(sources: &arguments::RuleSources, format: Format) -> anyhow::Result<bool> {
    let rules = describe::list(&*load(sources)?);
    match format {
        Format::Json => print(&(serde_json::to_string_pretty(&rules)? + "\n"))?,
        Format::Text => {
            print(&format!(
                "{:<40} {:<16} {:<9} FINDING\n",
                "RULE", "EVENT", "SEVERITY"
            ))?;
            for rule in rules {
                let describe::Listed {
                    id,
                    event,
                    severity,
                    finding,
                    ..
                } = rule;
                print(&format!("{id:<40} {event:<16} {severity:<9} {finding}\n"))?;
            }
        }
    }
    Ok(true)
}

fn lists(sources: &arguments::RuleSources, format: Format) -> anyhow::Result<bool> {
    let rules = load(sources)?;
    match format {
        Format::Json => print(&(serde_json::to_string_pretty(rules.lists())? + "\n"))?,
        Format::Text => {
            print(&format!(
                "{:<32} {:>8} {:>8}  MACROS\n",
                "LIST", "IN FILES", "IN RULES"
            ))?;
            for list in rules.lists() {
                let macros = list.macros.join(", ");
                print(&format!(
                    "{:<32} {:>8} {:>8}  {macros}\n",
                    list.name, list.entries, list.values
                ))?;
            }
        }
    }
    Ok(true)
}

fn measure(sources: &arguments::RuleSources, events: u32, format: Format) -> anyhow::Result<bool> {
    let rules = load(sources)?;
    if format == Format::Text {
        print(&format!(
            "{:<18} {:>6} {:>10} {:>14}\n",
            "EVENT", "RULES", "UNINDEXED", "EVENTS/S"
        ))?;
    }
    let start = Instant::now();
    for event in describe::events(rules.catalogue()) {
        let measured = bench::measure(&rules, &event.name, events, || start.elapsed());
        let Some(measured) = measured.filter(|measured| measured.rules > 0) else {
            continue;
        };
        // A line for each event type, for it takes its time.
        match format {
            Format::Json => print(&(serde_json::to_string(&measured)? + "\n"))?,
            Format::Text => print(&format!(
                "{:<18} {:>6} {:>10} {:>14.0}\n",
                measured.event, measured.rules, measured.unindexed, measured.events_per_second
            ))?,
        }
    }
    Ok(true)
}

/// Standard output that is closed early, as by `head`, is no error.
fn print(text: &str) -> io::Result<()> {
    match stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        result => result,
    }
}
