//! Files of rule tests: any text is run or refused with a message, and every test has an outcome.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use picket_rules::tools::testing::run;
use picket_rules::{Catalogue, LoadOptions, PolicySource, RuleSet};

const POLICY: &str = r#"
rules:
  - {id: shell, expression: 'exec.file.name in ["sh", "bash"] && process.parent.file.name == "nginx"'}
  - {id: passwd, expression: 'open.file.path == "/etc/passwd"', every: 10s}
  - id: mark
    expression: connect.addr.port == 4444
    actions: [{set: {name: seen, value: true, scope: process, ttl: 5s}}]
  - {id: after, expression: 'open.file.path =~ "/tmp/*" && ${process.seen}'}
  - {id: above, expression: 'chmod.retval == 0 && process.ancestors[A].comm == "a" && process.ancestors[A].uid > 0'}
"#;

/// Loading them takes longer than what is to be tried.
static RULES: LazyLock<Arc<RuleSet>> = LazyLock::new(|| {
    let policy = PolicySource {
        name: "p".to_owned(),
        text: POLICY.to_owned(),
        origin: String::new(),
    };
    let (rules, report) = RuleSet::load(&Catalogue::standard(), &[policy], &LoadOptions::default());
    assert!(report.is_ok(), "{report:?}");
    Arc::new(rules)
});

fuzz_target!(|text: &str| {
    match run(&RULES, text) {
        Ok(outcomes) => {
            for outcome in outcomes {
                assert_eq!(outcome.passed(), outcome.failures.is_empty());
            }
        }
        Err(message) => assert!(!message.is_empty()),
    }
});
