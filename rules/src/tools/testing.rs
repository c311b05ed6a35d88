//! `picket rules test`: rule tests, written in YAML next to the rules.
//!
//! ```yaml
//! tests:
//!   - name: a web server that starts a shell is reported once
//!     processes:
//!       - {pid: 1, file.path: /usr/sbin/nginx, comm: nginx}
//!     steps:
//!       - {pid: 1, event: {type: listen, listen.addr.port: 80}}
//!       - {pid: 7, parent: 1, event: {type: exec, exec.file.path: /bin/dash, exec.comm: sh},
//!          reports: [picket_shell_from_web_server]}
//! ```
//!
//! Steps run in order on one evaluator. Exactly the rules in `reports` (none when it is left
//! out) must report; `matches` names rules that must match without reporting; with `not`,
//! only the rules named there must be silent. A process that is not known yet is made from
//! `parent`'s; an exec event replaces what is known about it. `after: 10s` lets time pass.
//! A file's name follows from its path unless it is given.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json, json};

use super::event::WrittenEvent;
use crate::duration;
use crate::evaluator::{Evaluator, Match};
use crate::ruleset::RuleSet;

/// What became of one test.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// Its name.
    pub name: String,
    /// What went wrong; empty when it passed.
    pub failures: Vec<String>,
    /// Rules that matched in it.
    pub covered: Vec<String>,
    /// Rules that were tried on an event that no rule reports, and did not match.
    pub spared: Vec<String>,
}

impl Outcome {
    /// True when nothing went wrong.
    pub fn passed(&self) -> bool {
        self.failures.is_empty()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    tests: Vec<Test>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Test {
    name: String,
    #[serde(default)]
    processes: Vec<Map<String, Json>>,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    #[serde(default)]
    pid: u64,
    parent: Option<u64>,
    event: Map<String, Json>,
    after: Option<String>,
    #[serde(default)]
    reports: Vec<String>,
    #[serde(default)]
    matches: Vec<String>,
    not: Option<Vec<String>>,
}

/// Runs the tests of a file against a rule set.
///
/// # Errors
/// A message, with its place, when the file is not one of tests.
pub fn run(rules: &Arc<RuleSet>, text: &str) -> Result<Vec<Outcome>, String> {
    let file: File = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    Ok(file
        .tests
        .into_iter()
        .map(|test| Runner::new(rules).test(test))
        .collect())
}

/// What is known about a process: `comm`, `file.path` and so on.
#[derive(Debug, Clone, Default)]
struct Known {
    parent: Option<u64>,
    fields: Map<String, Json>,
}

struct Runner<'a> {
    rules: &'a Arc<RuleSet>,
    evaluator: Evaluator,
    processes: BTreeMap<u64, Known>,
    now: i64,
}

impl<'a> Runner<'a> {
    fn new(rules: &'a Arc<RuleSet>) -> Self {
        Self {
            rules,
            evaluator: Evaluator::new(Arc::clone(rules)),
            processes: BTreeMap::new(),
            // Some moment; only differences matter.
            now: 1_700_000_000_000_000_000,
        }
    }

    fn test(mut self, test: Test) -> Outcome {
        let mut outcome = Outcome {
            name: test.name,
            ..Outcome::default()
        };
        for mut process in test.processes {
            let pid = process
                .remove("pid")
                .and_then(|pid| pid.as_u64())
                .unwrap_or_default();
            let parent = process.remove("parent").and_then(|parent| parent.as_u64());
            name_files(&mut process);
            self.processes.insert(
                pid,
                Known {
                    parent,
                    fields: process,
                },
            );
        }
        for (index, step) in test.steps.into_iter().enumerate() {
            match self.step(&step, &mut outcome.spared) {
                Ok(matches) => self.judge(index, &step, &matches, &mut outcome),
                Err(message) => outcome
                    .failures
                    .push(format!("step {}: {message}", index + 1)),
            }
        }
        outcome.covered.sort_unstable();
        outcome.covered.dedup();
        outcome.spared.sort_unstable();
        outcome.spared.dedup();
        outcome
    }

    /// Evaluates a step's event, and notes the rules that leave it alone when all do.
    fn step(&mut self, step: &Step, spared: &mut Vec<String>) -> Result<Vec<Match>, String> {
        if let Some(after) = &step.after {
            let nanoseconds =
                duration::parse(after).ok_or_else(|| format!("after: {after:?} is no duration"))?;
            self.now = self.now.saturating_add(nanoseconds);
        }
        let mut fields = step.event.clone();
        name_files(&mut fields);
        self.update(step, &fields);
        let event = self.event(step.pid, &fields)?;
        let event_type = event.event_type().ok_or("the event has no type")?;
        let mut matches = Vec::new();
        self.evaluator.evaluate(event_type, &event, &mut matches);
        if !matches.iter().any(|one| one.report) {
            let rules = self.rules.rules().iter().enumerate();
            let missed = rules.filter(|(index, rule)| {
                rule.event == event_type && !matches.iter().any(|one| one.rule == *index)
            });
            spared.extend(missed.map(|(_, rule)| rule.id.clone()));
        }
        Ok(matches)
    }

    /// Makes the process, or gives it the program it now runs.
    fn update(&mut self, step: &Step, fields: &Map<String, Json>) {
        if !self.processes.contains_key(&step.pid) {
            let inherited = step
                .parent
                .and_then(|parent| self.processes.get(&parent))
                .cloned();
            let fields = inherited.unwrap_or_default().fields;
            self.processes.insert(
                step.pid,
                Known {
                    parent: step.parent,
                    fields,
                },
            );
        }
        let Some(process) = self.processes.get_mut(&step.pid) else {
            return;
        };
        if fields.get("type").and_then(Json::as_str) == Some("exec") {
            let own = |key: &String| key.starts_with("file.") || key.starts_with("interpreter.");
            process.fields.retain(|key, _| !own(key));
        }
        for (name, value) in fields {
            if let Some(key) = name.strip_prefix("exec.") {
                process.fields.insert(key.to_owned(), value.clone());
            }
        }
    }

    /// The event, with everything that is known about its process and those above.
    fn event(&self, pid: u64, fields: &Map<String, Json>) -> Result<WrittenEvent, String> {
        let mut event = WrittenEvent::empty(self.rules.catalogue());
        let fault = |error: super::event::EventError| error.to_string();
        let mut above = Vec::new();
        let mut keys = Vec::new();
        let mut next = self.processes.get(&pid).and_then(|process| process.parent);
        while let Some(ancestor) = next.filter(|ancestor| !keys.contains(ancestor)) {
            let known = self.processes.get(&ancestor).cloned().unwrap_or_default();
            let mut fields = known.fields;
            fields.insert("pid".to_owned(), json!(ancestor));
            if above.is_empty() {
                for (key, value) in &fields {
                    event
                        .set(&format!("process.parent.{key}"), value)
                        .map_err(fault)?;
                }
            }
            above.push(Json::Object(fields));
            keys.push(ancestor);
            next = known.parent;
        }
        event
            .set("process.ancestors", &Json::Array(above))
            .map_err(fault)?;
        event.set("process.pid", &json!(pid)).map_err(fault)?;
        if let Some(process) = self.processes.get(&pid) {
            for (key, value) in &process.fields {
                event.set(&format!("process.{key}"), value).map_err(fault)?;
            }
        }
        for (name, value) in fields {
            event.set(name, value).map_err(fault)?;
        }
        self.describe_new_program(fields, pid, &mut event)
            .map_err(fault)?;
        event.now = self.now;
        event.process = pid;
        event.ancestors = keys;
        Ok(event)
    }

    /// What an exec leaves as it is holds for the new program too: its fields are those of the
    /// process, unless the event says otherwise.
    fn describe_new_program(
        &self,
        fields: &Map<String, Json>,
        pid: u64,
        event: &mut WrittenEvent,
    ) -> Result<(), super::event::EventError> {
        const REPLACED: [&str; 7] = [
            "file.",
            "interpreter.",
            "called.",
            "comm",
            "arg",
            "env",
            "is_",
        ];
        if fields.get("type").and_then(Json::as_str) != Some("exec") {
            return Ok(());
        }
        let known = self.processes.get(&pid).map(|process| &process.fields);
        for (key, value) in known.into_iter().flatten() {
            let name = format!("exec.{key}");
            let is_kept = !REPLACED.iter().any(|prefix| key.starts_with(prefix));
            if is_kept && !fields.contains_key(&name) {
                event.set(&name, value)?;
            }
        }
        Ok(())
    }

    fn judge(&self, index: usize, step: &Step, matches: &[Match], outcome: &mut Outcome) {
        let id = |one: &Match| self.rules.rules()[one.rule].id.clone();
        let matched: Vec<String> = matches.iter().map(id).collect();
        let reported: Vec<String> = matches.iter().filter(|one| one.report).map(id).collect();
        let mut fail = |message: String| {
            outcome
                .failures
                .push(format!("step {}: {message}", index + 1))
        };
        for expected in step.reports.iter().filter(|id| !reported.contains(id)) {
            fail(format!("{expected} should have reported"));
        }
        for expected in step.matches.iter().filter(|id| !matched.contains(id)) {
            fail(format!("{expected} should have matched"));
        }
        for (position, found) in reported.iter().enumerate() {
            let allowed = match &step.not {
                Some(not) => !not.contains(found),
                None => step.reports.contains(found),
            };
            if !allowed {
                fail(format!("{found} should not have reported"));
            } else if reported[..position].contains(found) {
                fail(format!("{found} reported twice"));
            }
        }
        for named in step
            .reports
            .iter()
            .chain(&step.matches)
            .chain(step.not.iter().flatten())
        {
            if !self.rules.rules().iter().any(|rule| rule.id == *named) {
                fail(format!("there is no rule {named}"));
            }
        }
        outcome.covered.extend(matched);
    }
}

/// Fills in `….name` from `….path` where only the path is given.
fn name_files(fields: &mut Map<String, Json>) {
    let mut names = Vec::new();
    for (key, value) in fields.iter() {
        let is_file = key.ends_with("file.path") || key.ends_with("file.destination.path");
        if let (true, Some(path)) = (is_file, value.as_str()) {
            let name = format!("{}name", &key[..key.len() - "path".len()]);
            let base = path.rsplit('/').next().unwrap_or_default();
            names.push((name, json!(base)));
        }
    }
    for (name, value) in names {
        fields.entry(name).or_insert(value);
    }
}
