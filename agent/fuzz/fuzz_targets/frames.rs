//! Any bytes, cut anywhere, into the pipeline: what a hostile process in the pod can send.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use picket_agent::identity::Identity;
use picket_agent::ingest::Ingest;
use picket_agent::pipeline::{LoadedRules, Output, Pipeline};
use picket_agent::rulefiles::RuleFiles;

/// Loading them takes a hundred times as long as what is to be tried.
static RULES: LazyLock<LoadedRules> = LazyLock::new(|| RuleFiles::default().load());

fuzz_target!(|data: &[u8]| {
    let Some((&cut, bytes)) = data.split_first() else { return };
    let mut pipeline = Pipeline::new(RULES.clone(), Identity::default());
    let mut outputs: Vec<Output> = Vec::new();
    let mut ingest = Ingest::new();
    for chunk in bytes.chunks(usize::from(cut) + 1) {
        if ingest.feed(&mut pipeline, chunk, 1, &mut outputs).is_err() {
            break;
        }
    }
    ingest.close(&mut pipeline, 2, &mut outputs);
    for output in outputs {
        if let Output::Finding(finding) = output {
            assert!(!finding.to_line().contains('\n'));
        }
    }
});
