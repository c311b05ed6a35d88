//! Which findings are wanted, and which have been shown.

use std::collections::{HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use picket_events::finding::Severity;
use serde_json::Value;

use crate::arguments;

/// How many findings are remembered: twice as many as the relay keeps.
const REMEMBERED: usize = 4096;

/// What has to be true of a finding.
#[derive(Debug, Default)]
pub(super) struct Filter {
    pub(super) namespace: Option<String>,
    pub(super) severity: Severity,
    pub(super) rule: Option<String>,
}

impl Filter {
    pub(super) fn of(arguments: &arguments::Findings) -> Self {
        Self {
            namespace: arguments.namespace.clone(),
            severity: arguments.severity.into(),
            rule: arguments.rule.clone(),
        }
    }

    /// The finding of a line, if it is wanted.
    pub(super) fn take(&self, line: &str) -> Option<Value> {
        let finding: Value = serde_json::from_str(line).ok()?;
        let is = |wanted: &Option<String>, value: &Value| {
            wanted.as_deref().is_none_or(|wanted| value == wanted)
        };
        let severity = finding["finding"]["severity"].as_str().unwrap_or_default();
        let severity = Severity::from_name(severity).unwrap_or_default();
        let wanted = is(&self.namespace, &finding["pod"]["namespace"])
            && is(&self.rule, &finding["agent"]["rule_id"])
            && severity >= self.severity;
        wanted.then_some(finding)
    }
}

/// The findings that were shown last.
#[derive(Debug, Default)]
pub(super) struct Shown {
    known: HashSet<u64>,
    order: VecDeque<u64>,
}

impl Shown {
    /// Whether the line was not shown yet; it counts as shown from now on.
    pub(super) fn is_new(&mut self, line: &str) -> bool {
        let mut hasher = DefaultHasher::new();
        line.hash(&mut hasher);
        let hash = hasher.finish();
        if !self.known.insert(hash) {
            return false;
        }
        self.order.push_back(hash);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn line(namespace: &str, severity: &str, rule: &str) -> String {
        json!({
            "finding": {"severity": severity}, "agent": {"rule_id": rule},
            "pod": {"namespace": namespace},
        })
        .to_string()
    }

    #[test]
    fn only_what_is_asked_for_is_taken() {
        let all = Filter {
            severity: Severity::Info,
            ..Filter::default()
        };
        assert!(all.take(&line("shop", "info", "a")).is_some());
        assert!(all.take("no JSON").is_none());
        let some = Filter {
            namespace: Some("shop".to_owned()),
            severity: Severity::High,
            rule: Some("a".to_owned()),
        };
        for (namespace, severity, rule, expected) in [
            ("shop", "high", "a", true),
            ("shop", "critical", "a", true),
            ("shop", "medium", "a", false),
            ("bank", "high", "a", false),
            ("shop", "high", "b", false),
        ] {
            let taken = some.take(&line(namespace, severity, rule));
            assert_eq!(taken.is_some(), expected, "{namespace} {severity} {rule}");
        }
    }

    #[test]
    fn what_comes_again_after_a_reconnection_is_no_news() {
        let mut shown = Shown::default();
        assert!(shown.is_new("a") && shown.is_new("b"));
        assert!(!shown.is_new("a"));
        for number in 0..REMEMBERED {
            assert!(shown.is_new(&number.to_string()));
        }
        assert!(shown.is_new("a"), "long ago");
    }
}
