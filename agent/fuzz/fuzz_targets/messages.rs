//! Well-framed messages behind a good hello: gets deep into tree, rules and findings.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use picket_agent::identity::{Identity, Mode};
use picket_agent::ingest::Ingest;
use picket_agent::pipeline::{LoadedRules, Output, Pipeline};
use picket_agent::rulefiles::RuleFiles;
use picket_events::wire::{FrameWriter, Hello, MAX_FRAME, ToAgent, VERSION};

/// Loading them takes a hundred times as long as what is to be tried.
static RULES: LazyLock<LoadedRules> = LazyLock::new(|| RuleFiles::default().load());

fuzz_target!(|data: &[u8]| {
    if data.is_empty() || data.len() > MAX_FRAME {
        return;
    }
    let identity = Identity { mode: Mode::Enforce, ..Identity::default() };
    let mut pipeline = Pipeline::new(RULES.clone(), identity);
    let mut outputs: Vec<Output> = Vec::new();
    let mut writer = FrameWriter::new();
    let hello = Hello { version: VERSION, started_at: 1, ..Hello::default() };
    if writer.push(&ToAgent::Hello(Box::new(hello))).is_err() {
        return;
    }
    let mut bytes = writer.take();
    bytes.extend_from_slice(&(data.len() as u32).to_le_bytes());
    bytes.extend_from_slice(data);
    let mut ingest = Ingest::new();
    // Whether the messages decode is up to the fuzzer; nothing may panic either way.
    let _ = ingest.feed(&mut pipeline, &bytes, 1, &mut outputs);
    pipeline.tick(0, 2, &mut outputs);
    pipeline.heartbeat(3, &mut outputs);
    ingest.close(&mut pipeline, 4, &mut outputs);
    for output in outputs {
        if let Output::Finding(finding) = output {
            assert!(!finding.to_line().contains('\n'));
        }
    }
});
