//! Files whose reads rules wait for, where the tracer does not stop for all reads.
//!
//! A rule that takes only opens with certain flags (see [`crate::interest`]) has the tracer pass
//! over most reads. Where it also says which files it is about, the tracer can watch these.

use picket_events::OpenInterest;

use crate::catalogue::Catalogue;
use crate::interest;
use crate::program::{At, BoolNode, Read, TextNode};
use crate::rule::Rule;
use crate::value::FieldId;

/// Most patterns of one set of rules.
const PATTERNS_MAX: usize = 256;

/// Patterns of the paths that such rules are about, sorted: exact ones, ones with `*` inside
/// their parts, and ones that end in `**`.
pub(crate) fn watched(catalogue: &Catalogue, rules: &[Rule]) -> Vec<String> {
    let mut patterns = all(catalogue, rules);
    patterns.truncate(PATTERNS_MAX);
    patterns
}

/// Whether all files that these rules want to be watched can be.
pub(crate) fn fit(catalogue: &Catalogue, rules: &[Rule]) -> bool {
    all(catalogue, rules).len() <= PATTERNS_MAX
}

/// Whether a rule that leaves out quiet reads says of which files it wants the others.
pub(crate) fn is_watched(catalogue: &Catalogue, rule: &Rule) -> bool {
    let patterns = patterns(catalogue, rule);
    patterns.is_some_and(|patterns| patterns.iter().all(|path| path.starts_with('/')))
}

fn all(catalogue: &Catalogue, rules: &[Rule]) -> Vec<String> {
    let rules = rules.iter().filter(|rule| {
        let opens = interest::of_opens(catalogue, rule);
        matches!(opens, OpenInterest::Plain | OpenInterest::NoTerminal)
    });
    let patterns = rules.filter_map(|rule| patterns(catalogue, rule));
    let mut patterns: Vec<String> = patterns.flatten().collect();
    patterns.sort_unstable();
    patterns.dedup();
    patterns
}

fn patterns(catalogue: &Catalogue, rule: &Rule) -> Option<Vec<String>> {
    paths(&rule.program.root, catalogue.field("open.file.path")?)
}

/// Patterns one of which the path must fit for the condition to hold; `None` when nothing of the
/// kind can be said.
fn paths(node: &BoolNode, path: FieldId) -> Option<Vec<String>> {
    match node {
        BoolNode::Constant(false) => Some(Vec::new()),
        BoolNode::All(operands) => operands
            .iter()
            .filter_map(|operand| paths(operand, path))
            .min_by_key(Vec::len),
        BoolNode::Any(operands) => {
            let all: Option<Vec<_>> = operands
                .iter()
                .map(|operand| paths(operand, path))
                .collect();
            all.map(|all| all.concat())
        }
        BoolNode::Text {
            value:
                TextNode::Read(Read {
                    field,
                    at: At::Event,
                }),
            matcher,
        } if *field == path => matcher.patterns(PATTERNS_MAX),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{LoadOptions, PolicySource, RuleSet};

    const QUIET: &str = "open.flags & (O_CLOEXEC|O_NONBLOCK|O_DIRECTORY|O_PATH) == 0";

    fn watched_by(expression: &str) -> Vec<String> {
        let source = PolicySource {
            name: "test".to_owned(),
            text: format!("rules:\n- id: r\n  expression: >-\n    {expression}\n"),
            origin: String::new(),
        };
        let catalogue = Arc::clone(&Catalogue::standard());
        let (rules, report) = RuleSet::load(&catalogue, &[source], &LoadOptions::default());
        assert!(report.is_ok(), "{report:?}");
        rules.watched_files()
    }

    #[test]
    fn files_of_rules_that_leave_out_quiet_reads_are_watched() {
        let expression = format!(
            r#"open.file.path in [ "/etc/shadow", ~"/home/*/.ssh/id_*", ~"/run/secrets/**" ]
            && process.comm == "cat" && {QUIET}"#
        )
        .replace('\n', " ");
        assert_eq!(
            watched_by(&expression),
            ["/etc/shadow", "/home/*/.ssh/id_*", "/run/secrets/**"]
        );
    }

    #[test]
    fn rules_that_see_every_read_or_none_or_do_not_say_which_files_need_no_watch() {
        for expression in [
            r#"open.file.path == "/etc/shadow""#.to_owned(),
            r#"open.file.path == "/etc/shadow" && open.flags & O_CREAT > 0"#.to_owned(),
            format!(r#"open.file.name == "shadow" && {QUIET}"#),
            format!(r#"(open.file.path == "/a" || process.comm == "cat") && {QUIET}"#),
        ] {
            assert_eq!(watched_by(&expression), [""; 0], "{expression}");
        }
    }
}
