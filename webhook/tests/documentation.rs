//! The documentation names every word there is.

use std::fs;
use std::path::Path;

use picket_webhook::Reason;
use picket_webhook::entrypoint::Cause;

#[test]
fn every_reason_is_documented_with_its_outcome() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/injection.md");
    let text = fs::read_to_string(path).unwrap();
    for reason in Reason::ALL {
        let row = format!("| `{}` | {} |", reason.word(), reason.outcome());
        assert!(text.contains(&row), "docs/injection.md has no row {row}");
    }
}

#[test]
fn every_cause_is_documented() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/injection.md");
    let text = fs::read_to_string(path).unwrap();
    for cause in Cause::ALL {
        let row = format!("| `{}` | ", cause.word());
        assert!(text.contains(&row), "docs/injection.md has no row {row}");
    }
}
