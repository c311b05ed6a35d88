//! Whatever a pod sends to the relay: nothing that the operator writes of another pod changes.
//!
//! The first byte says whether the rest is a heartbeat or a batch of findings.
//!
//! `cargo +nightly fuzz run relay_body fuzz/found/relay_body fuzz/corpus/relay_body`

#![no_main]

#[path = "../../tests/isolation/cluster.rs"]
mod cluster;

use std::cell::LazyCell;

use cluster::{Kind, only_its_own_row_changes};
use libfuzzer_sys::fuzz_target;
use tokio::runtime::{Builder, Runtime};

thread_local! {
    static RUNTIME: LazyCell<Runtime> =
        LazyCell::new(|| Builder::new_current_thread().build().expect("a runtime"));
}

fuzz_target!(|data: &[u8]| {
    let Some((kind, body)) = data.split_first() else { return };
    let kind = match kind % 2 {
        0 => Kind::Heartbeat,
        _ => Kind::Findings,
    };
    RUNTIME.with(|runtime| runtime.block_on(only_its_own_row_changes(kind, body)));
});
