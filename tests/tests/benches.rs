//! The measurements of the control plane work: each ends with little load, and its figures can be.
//! What they are on a machine that runs other tests says nothing, so no time is held against
//! anything. `make bench-rotation` is a test of `control_plane_load.rs` with other numbers.
#![allow(missing_docs)]

use std::path::PathBuf;
use std::process::Command;

/// An example of this workspace; `cargo test` has built it beside the tests.
fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("this test has a path");
    let built = test.ancestors().nth(2).expect("target/PROFILE/deps/TEST");
    let path = built.join("examples").join(name);
    assert!(
        path.is_file(),
        "{} is not there: cargo build --workspace --all-features --examples",
        path.display()
    );
    path
}

/// What an example writes to its standard output.
fn output(name: &str, words: &[&str]) -> String {
    let output = Command::new(example(name))
        .args(words)
        .output()
        .expect("it starts");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {error}");
    String::from_utf8(output.stdout).expect("text")
}

/// The numbers in a line, in their order.
fn numbers(line: &str) -> Vec<f64> {
    line.split(|c: char| !(c.is_ascii_digit() || c == '.'))
        .filter_map(|word| word.trim_matches('.').parse().ok())
        .collect()
}

#[test]
fn the_webhook_is_measured_beside_an_echo() {
    let text = output("admission_load", &["1", "1"]);
    for server in ["echo", "webhook"] {
        let row = text
            .lines()
            .find_map(|line| line.strip_prefix(&format!("| {server} |")))
            .unwrap_or_else(|| panic!("no row of {server}: {text}"));
        let [reviews, of_a_core, p50, p99, p999, resident] = numbers(row)[..] else {
            panic!("{text}");
        };
        assert!(reviews > 0.0 && of_a_core > 0.0 && resident > 0.0, "{text}");
        assert!(0.0 < p50 && p50 <= p99 && p99 <= p999, "{text}");
    }
    let last = text.lines().last().unwrap_or_default();
    assert!(last.starts_with("p99 of the webhook is"), "{text}");
    assert!(!last.contains("NaN") && !last.contains("inf"), "{text}");
}

#[test]
fn coverage_is_measured_until_it_is_true() {
    let text = output("coverage_scale", &["20", "--changes", "2", "--idle", "1"]);
    let row = text.lines().nth(1).unwrap_or_default();
    let [
        pods,
        workloads,
        all_true,
        change,
        cpu,
        peak,
        idle,
        installed,
    ] = numbers(row)[..]
    else {
        panic!("{text}");
    };
    assert_eq!((pods, workloads), (20.0, 2.0), "{text}");
    assert!(all_true > 0.0 && change > 0.0 && installed > 0.0, "{text}");
    assert!(cpu >= 0.0 && idle >= 0.0 && peak > 1.0, "{text}");
}

#[test]
fn every_agent_gets_every_change_of_a_rule_set() {
    let text = output("relay_scale", &["10", "--seconds", "2"]);
    let lines: Vec<&str> = text.lines().collect();
    let [connected, changes @ .., whole, beats] = lines.as_slice() else {
        panic!("{text}");
    };
    assert!(connected.starts_with("10 agents have connected"), "{text}");
    assert_eq!(changes.len(), 3, "{text}");
    for (index, line) in changes.iter().enumerate() {
        let [number, rules, first, half, all, cpu] = numbers(line)[..] else {
            panic!("{text}");
        };
        assert_eq!((number, rules), ((index + 1) as f64, 300.0), "{text}");
        assert!(first <= half && half <= all && cpu >= 0.0, "{text}");
    }
    assert!(whole.starts_with("no agent had less"), "{text}");
    let [answered, seconds, _of_a_core, peak] = numbers(beats)[..] else {
        panic!("{text}");
    };
    assert!(answered > 0.0 && seconds == 2.0 && peak > 1.0, "{text}");
}
