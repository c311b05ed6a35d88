//! The measurements work: each part of the program with a hundredth of the load ends and gives
//! figures that can be. What they are on a machine that runs other tests says nothing, so no time
//! is held against anything.

use std::process::Command;

use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_picket-bench");

/// What the program writes to its standard output.
fn output(words: &[&str]) -> String {
    let output = Command::new(PROGRAM).args(words).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// The numbers in a line, in their order.
fn numbers(line: &str) -> Vec<f64> {
    line.split(|c: char| !(c.is_ascii_digit() || c == '.'))
        .filter_map(|word| word.trim_matches('.').parse().ok())
        .collect()
}

fn is_positive(number: &Value) -> bool {
    number
        .as_f64()
        .is_some_and(|number| number.is_finite() && number > 0.0)
}

#[test]
fn each_kind_of_workload_is_measured_in_every_variant() {
    const LOOPS: [&str; 4] = ["open-4", "open-idle", "connect", "spawn"];
    // A command of a shell, and a server: left out with a reason where it is not installed.
    const OTHERS: [&str; 2] = ["python", "redis"];
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("bench.json");
    let mut words = [LOOPS.as_slice(), &OTHERS].concat();
    words.extend(["--quick", "--rounds", "1", "--json", file.to_str().unwrap()]);
    let table = output(&words);
    for name in LOOPS.iter().chain(&OTHERS) {
        let row = format!("| {name}: ");
        assert!(table.contains(&row), "{table}");
    }

    let report: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let rows = report["workloads"].as_array().unwrap();
    assert_eq!(rows.len(), LOOPS.len() + OTHERS.len());
    for row in rows {
        let name = row["workload"].as_str().unwrap();
        if let Some(missing) = row["skipped"].as_str() {
            assert!(OTHERS.contains(&name), "{name}: {missing}");
            assert!(missing.contains("apt-get install"), "{name}: {missing}");
            continue;
        }
        let variants = row["variants"].as_array().unwrap();
        // The untraced run, and the seven that are held against it.
        assert_eq!(variants.len(), 8, "{row}");
        for variant in variants {
            let samples = variant["samples"].as_array().unwrap();
            assert_eq!(samples.len(), 1, "{name}: {variant}");
            assert!(is_positive(&samples[0]), "{name}: {variant}");
            assert!(
                is_positive(&variant["ratio"]["median"]),
                "{name}: {variant}"
            );
        }
    }
    let footprint = &report["footprint"];
    assert!(is_positive(&footprint["resident"]), "{footprint}");
    assert!(footprint["proportional"].as_u64() <= footprint["resident"].as_u64());
    assert!(footprint["start"]["median"].is_f64() && footprint["exit"]["median"].is_f64());
}

#[test]
fn the_flood_is_carried_whole_or_says_what_it_dropped() {
    let line = output(&["flood", "--rate", "5000", "--seconds", "1"]);
    let [events, seconds, rate, dropped, _flushed] = numbers(&line)[..] else {
        panic!("{line}");
    };
    assert!(events > 0.0 && seconds > 0.0 && rate > 0.0, "{line}");
    assert!(
        events <= 5000.0 * (seconds + 1.0),
        "more than was asked for: {line}"
    );
    assert!(dropped < events, "{line}");
}

/// What is measured runs in another directory than the one that a tracer's path begins in.
#[test]
fn a_tracer_may_be_named_from_the_directory_that_one_is_in() {
    let scratch = tempfile::tempdir().unwrap();
    let script = format!("#!/bin/sh\nexec {PROGRAM} tracer -- \"$@\"\n");
    std::fs::write(scratch.path().join("tracer"), script).unwrap();
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(scratch.path().join("tracer"), executable).unwrap();
    let run = |tracer| {
        Command::new(PROGRAM)
            .args(["reads", "cat", "--passes", "1", "--tracer", tracer])
            .current_dir(scratch.path())
            .output()
            .unwrap()
    };
    let found = run("./tracer");
    let error = String::from_utf8_lossy(&found.stderr);
    assert!(found.status.success(), "{error}");
    assert!(found.stdout.starts_with(b"cat "), "{found:?}");
    let missing = run("./missing");
    let error = String::from_utf8_lossy(&missing.stderr);
    assert!(!missing.status.success(), "{missing:?}");
    assert!(error.contains("cannot find ./missing"), "{error}");
}

#[test]
fn reads_are_counted_for_each_program() {
    let text = output(&["reads", "cat", "head", "--passes", "3"]);
    let lines: Vec<&str> = text.lines().collect();
    let [cat, head, sum] = lines[..] else {
        panic!("{text}");
    };
    let mut told = 0.0;
    for (line, program) in [(cat, "cat"), (head, "head")] {
        assert!(line.starts_with(program), "{text}");
        let [reads, passes, of_nobody] = numbers(line)[..] else {
            panic!("{text}");
        };
        assert!(passes == 3.0 && of_nobody <= reads, "{text}");
        told += reads;
    }
    let [seen, tried, attributed, all] = numbers(sum)[..] else {
        panic!("{text}");
    };
    assert!(seen <= tried && tried == 2.0, "{text}");
    assert!(attributed <= all && all == told, "{text}");
}
