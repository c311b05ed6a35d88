//! Words of the language in any order, and corpora of the fuzzers: an answer or a mistake,
//! never a panic.

use std::path::PathBuf;

use picket_rules::tools::eval::answer;
use picket_rules::{Catalogue, LoadOptions, PolicySource, RuleSet};
use proptest::prelude::*;
use serde_json::json;

const WORDS: [&str; 48] = [
    "open.file.path",
    "exec.comm",
    "process.ancestors.uid",
    "process.ancestors[A].comm",
    "process.ancestors[0].argv",
    "process.argv",
    "connect.addr.ip",
    "open.flags",
    "O_CREAT",
    "true",
    "open.file.path.length",
    "connect.addr.hostname.root_domain",
    "fim.write.file.path",
    "process.created_at",
    "${v}",
    "${process.pid}",
    "%{open.flags}",
    "\"/etc/passwd\"",
    "\"a*\"",
    "~\"/etc/*\"",
    "~\"a*\"",
    "r\"^a\"",
    "10.0.0.0/8",
    "::1",
    "5",
    "-3",
    "0777",
    "10s",
    "==",
    "!=",
    "=~",
    "!~",
    "<",
    ">=",
    "in",
    "not in",
    "allin",
    "&&",
    "||",
    "and",
    "!",
    "not",
    "&",
    "|",
    "^",
    "(",
    ")",
    "[ \"a\", \"b\" ]",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn any_row_of_words_is_answered(
        words in prop::collection::vec(prop::sample::select(&WORDS[..]), 1..12),
    ) {
        let request = json!({
            "expr": words.join(" "),
            "event": {"type": "open", "open.file.path": "/etc/passwd",
                      "process.ancestors": [{"uid": 1, "comm": "a"}]},
            "variables": {"v": ["x"]},
        });
        let answer = answer(&Catalogue::standard(), &request.to_string(), 0);
        prop_assert!(answer.result.is_some() != answer.error.is_some());
    }

    #[test]
    fn any_text_is_answered(text in ".{0,60}") {
        let request = json!({ "expr": text });
        let answer = answer(&Catalogue::standard(), &request.to_string(), 0);
        prop_assert!(answer.result.is_some() != answer.error.is_some());
    }
}

#[test]
fn the_fuzzers_corpora_pass() {
    let corpus = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let catalogue = Catalogue::standard();
    let mut seen = 0;
    for kind in ["expression", "policy", "evaluate"] {
        for entry in std::fs::read_dir(corpus.join(kind)).unwrap() {
            let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
            seen += 1;
            match kind {
                "expression" => drop(answer(&catalogue, &json!({ "expr": text }).to_string(), 0)),
                "evaluate" => assert!(answer(&catalogue, &text, 0).result.is_some(), "{text}"),
                _ => {
                    let source = PolicySource {
                        name: kind.into(),
                        text,
                        origin: kind.into(),
                    };
                    RuleSet::load(&catalogue, &[source], &LoadOptions::default());
                }
            }
        }
    }
    assert!(seen >= 10);
}
