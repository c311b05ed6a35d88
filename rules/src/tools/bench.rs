//! `picket rules bench`: how many events a rule set takes.
//!
//! The events are made so that no sensible rule matches them: what is measured is the cost of
//! saying no, which is what a container pays all day.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use super::event::WrittenEvent;
use crate::catalogue::Catalogue;
use crate::evaluator::Evaluator;
use crate::ruleset::RuleSet;

/// The result for one event type.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measured {
    /// Event type.
    pub event: String,
    /// Rules for it.
    pub rules: usize,
    /// Rules that are tried for every event, because nothing in them can be looked up.
    pub unindexed: usize,
    /// Events evaluated each second on one core.
    pub events_per_second: f64,
}

/// Times one event type: `clock` gives the time since some moment, `rounds` is how many
/// events are evaluated.
pub fn measure(
    rules: &Arc<RuleSet>,
    event: &str,
    rounds: u32,
    clock: impl Fn() -> Duration,
) -> Option<Measured> {
    let catalogue = Arc::clone(rules.catalogue());
    let id = catalogue.event(event)?;
    let events: Vec<WrittenEvent> = (0..64).map(|n| sample(&catalogue, event, n)).collect();
    let mut evaluator = Evaluator::new(Arc::clone(rules));
    let mut matches = Vec::new();
    let before = clock();
    for round in 0..rounds {
        evaluator.evaluate(id, &events[round as usize % events.len()], &mut matches);
        matches.clear();
    }
    let seconds = clock().saturating_sub(before).as_secs_f64();
    Some(Measured {
        event: event.to_owned(),
        rules: rules.rules().iter().filter(|rule| rule.event == id).count(),
        unindexed: rules.unindexed(id),
        events_per_second: f64::from(rounds) / seconds.max(1e-9),
    })
}

/// An event of a busy application: files of its own, a few ancestors.
pub fn sample(catalogue: &Arc<Catalogue>, event: &str, number: usize) -> WrittenEvent {
    let mut sample = WrittenEvent::empty(catalogue);
    let ancestors: Vec<_> = ["gunicorn", "tini", "containerd-shim"]
        .iter()
        .map(|name| json!({"file.path": format!("/usr/bin/{name}"), "file.name": name, "comm": name}))
        .collect();
    let fields = [
        ("type", json!(event)),
        ("process.file.path", json!("/usr/local/bin/python3.12")),
        ("process.file.name", json!("python3.12")),
        ("process.comm", json!("python3.12")),
        ("process.ancestors", json!(ancestors)),
        (
            "file.path",
            json!(format!(
                "/srv/app/releases/{number}/assets/style-{number}.css"
            )),
        ),
        ("file.name", json!(format!("style-{number}.css"))),
        ("comm", json!(format!("worker-{number}"))),
        ("args", json!("--port 8080 --workers 4 --log-level info")),
        ("argv", json!(["--port", "8080", "--workers", "4"])),
        ("addr.ip", json!(format!("10.0.0.{number}"))),
        ("addr.port", json!(5432)),
        ("addr.family", json!(1)),
    ];
    for (name, value) in fields {
        let own = format!("{event}.{name}");
        let name = if catalogue.field(&own).is_some() {
            &own
        } else {
            name
        };
        // Fields that this catalogue or event type does not have are left out.
        if sample.set(name, &value).is_err() {
            continue;
        }
    }
    sample
}
