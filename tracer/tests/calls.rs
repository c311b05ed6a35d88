//! Every call of the table, made for real by its number, through both doors of an x86-64 kernel:
//! what is told of it. `calls/list.txt` is the specification; a call that is documented and missing
//! from it fails the test.
#![cfg(target_arch = "x86_64")]
#![allow(missing_docs)]

#[path = "calls/paths.rs"]
mod paths;
#[path = "calls/shown.rs"]
mod shown;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};

use picket_events::wire::{Notice, ToAgent};
use picket_events::{EventKind, Outcome};
use support::*;

/// A call, or Python to be run.
#[derive(Debug)]
struct Step {
    /// Name of the call; empty for Python.
    call: &'static str,
    /// Arguments as Python, or the Python to be run.
    arguments: String,
    /// What is to be told, as the list says it.
    told: String,
}

/// The steps of each process, from the list.
fn list() -> Vec<Vec<Step>> {
    let mut scenes = Vec::new();
    for part in include_str!("calls/list.txt").split("\n\n") {
        let mut steps: Vec<Step> = Vec::new();
        for line in part.lines().filter(|line| !line.starts_with('#')) {
            if let Some(code) = line.strip_prefix("> ") {
                match steps.last_mut().filter(|step| step.call.is_empty()) {
                    Some(step) => step.arguments += &format!("\n{code}"),
                    None => steps.push(Step {
                        call: "",
                        arguments: code.to_owned(),
                        told: String::new(),
                    }),
                }
                continue;
            }
            let (call, rest) = line.split_once(": ").expect(line);
            let (arguments, told) = rest.rsplit_once(" => ").expect(line);
            let (arguments, told) = (arguments.to_owned(), told.to_owned());
            steps.push(Step {
                call,
                arguments,
                told,
            });
        }
        scenes.push(steps);
    }
    scenes
}

/// Numbers of a door's calls, by name.
fn numbers(door: &str) -> BTreeMap<String, u32> {
    let header = match door {
        "syscall" => "/usr/include/x86_64-linux-gnu/asm/unistd_64.h",
        _ => "/usr/include/x86_64-linux-gnu/asm/unistd_32.h",
    };
    let text = std::fs::read_to_string(header).unwrap_or_else(|error| panic!("{header}: {error}"));
    let lines = text.lines().filter_map(|line| {
        let (name, number) = line.strip_prefix("#define __NR_")?.split_once(' ')?;
        Some((name.to_owned(), number.trim().parse().ok()?))
    });
    let mut numbers: BTreeMap<_, _> = lines.collect();
    // Newer than the header may be; the same by both doors.
    for (name, number) in [
        ("fchmodat2", 452),
        ("setxattrat", 463),
        ("removexattrat", 466),
        ("open_tree_attr", 467),
    ] {
        numbers.insert(name.to_owned(), number);
    }
    if door == "int80" {
        // Its arguments lie in memory; what has them in registers is mmap2.
        let first = numbers.remove("mmap").unwrap();
        numbers.insert("old_mmap".to_owned(), first);
    }
    numbers
}

/// The calls that the documentation lists.
fn documented() -> BTreeSet<String> {
    let text = include_str!("../../docs/tracer.md").replace("\\*", "");
    let table = text
        .split("\n## ")
        .find(|part| part.starts_with("What is traced"));
    let rows = table.unwrap().lines().filter(|line| line.starts_with("| "));
    let calls = rows.filter_map(|row| row.split('|').nth(2));
    let words = calls.flat_map(|calls| calls.split(|c: char| !c.is_alphanumeric() && c != '_'));
    words.map(str::to_owned).collect()
}

/// The steps of each scene that a door has, numbered.
fn scenes<'a>(
    list: &'a [Vec<Step>],
    numbers: &BTreeMap<String, u32>,
) -> Vec<Vec<(usize, &'a Step)>> {
    let mut count = 0;
    let mut numbered = |step: &'a Step| {
        count += 1;
        (count, step)
    };
    let has = |step: &&Step| numbers.contains_key(step.call);
    let is_there = |step: &&Step| step.call.is_empty() || has(step);
    let scenes = list
        .iter()
        .filter(|scene| scene.iter().any(|step| has(&step)));
    let scene = |scene: &'a Vec<Step>| scene.iter().filter(is_there).map(&mut numbered).collect();
    scenes.map(scene).collect()
}

/// What was told between the marks of each step.
fn told(record: &Record, here: &str) -> BTreeMap<usize, Vec<String>> {
    let mut all: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    let mut step = None;
    for message in &record.0 {
        let line = match message {
            ToAgent::Event(event) => {
                if let EventKind::Prctl { name, .. } = &event.kind
                    && let Some((word, number)) = name.split_once(' ')
                {
                    step = (word == "step").then(|| number.parse().unwrap());
                    continue;
                }
                shown::event(event, here)
            }
            ToAgent::Notice(Notice::Tampering { syscall, .. }) => {
                Some((Outcome::Denied(1), format!("tampering {syscall}")))
            }
            _ => None,
        };
        if let (Some(step), Some((outcome, line))) = (step, line) {
            all.entry(step)
                .or_default()
                .push(shown::with(outcome, &line));
        }
    }
    all
}

/// What is expected to be told of a step whose call returned this.
fn expected(step: &Step, result: Option<i64>) -> Option<String> {
    let (mark, text) = step.told.split_at(1);
    let (errno, text) = match text.split_once(' ') {
        Some((errno, rest)) if mark == "!" => (errno.parse().unwrap(), rest),
        _ => (0, text),
    };
    let returned = |result: i64| shown::with(Outcome::Returned(result), text);
    match (mark, result, engine()) {
        ("!", result, _) => {
            assert_eq!(result, Some(-errno), "{}", step.call);
            Some(shown::with(Outcome::Denied(errno as i32), text))
        }
        // Another program runs, or none.
        (_, None, _) => Some(returned(0)),
        ("-", Some(0..), _) => None,
        ("~", Some(result), "ptrace") => {
            let is_told = result >= 0 || [-1, -13].contains(&result);
            is_told.then(|| returned(result))
        }
        ("~", Some(_), _) => Some(format!("~ {text}")),
        (_, Some(result), _) if result < 0 => {
            panic!("{} {}: {result}", step.call, step.arguments)
        }
        (_, Some(result), "ptrace") => Some(returned(result)),
        ("+", ..) => Some(shown::with(Outcome::Succeeded, text)),
        _ => Some(shown::with(Outcome::Unconfirmed, text)),
    }
}

fn every_call_by(door: &str) {
    need_root();
    let numbers = numbers(door);
    let list = list();
    let made: BTreeSet<&str> = list.iter().flatten().map(|step| step.call).collect();
    let missing: Vec<_> = documented()
        .into_iter()
        .filter(|name| numbers.contains_key(name) && !made.contains(name.as_str()))
        .collect();
    assert_eq!(
        missing,
        [] as [&str; 0],
        "in docs/tracer.md, and not made here"
    );

    let scratch = Scratch::new(&format!("calls-{door}-{}", engine()));
    let wrong = wrong_of(door, &list, &scratch);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Makes the calls by a door, traced, and gives what is told of them otherwise than the list says.
fn wrong_of(door: &str, list: &[Vec<Step>], scratch: &Scratch) -> Vec<String> {
    let numbers = numbers(door);
    let scenes = scenes(list, &numbers);
    let steps: BTreeMap<usize, &Step> = scenes.iter().flatten().copied().collect();
    let agent = Agent::start(scratch);
    let here = scratch.text("here");
    std::fs::create_dir(&here).unwrap();
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs/calls.py");
    let traced = traced(&agent, "all", &["python3", "-I", "-S", "-B", program]);
    let mut command = Command::new("unshare");
    // Ports of its own, and nothing of what is mounted comes out.
    command.args(["--net", "--mount", "--propagation", "private"]);
    command.arg(traced.get_program()).args(traced.get_args());
    command
        .current_dir(&here)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = start(&mut command);
    let listed = |scene: &Vec<(usize, &Step)>| -> Vec<_> {
        let step = |(number, step): &(usize, &Step)| {
            serde_json::json!([number, step.call, step.arguments])
        };
        scene.iter().map(step).collect()
    };
    let plan = serde_json::json!({
        "door": door,
        "numbers": numbers,
        "scenes": scenes.iter().map(listed).collect::<Vec<_>>(),
    });
    let mut input = child.stdin.take().unwrap();
    input.write_all(plan.to_string().as_bytes()).unwrap();
    drop(input);
    let output = child.stdout.take().unwrap();
    let results: BTreeMap<usize, i64> = serde_json::from_reader(output).expect("results");
    assert!(wait(&mut child).success());
    let told = told(&agent.finish(), &here);

    let mut wrong = Vec::new();
    for (number, step) in steps.iter().filter(|(_, step)| !step.call.is_empty()) {
        let result = results.get(number).copied();
        const ENOSYS: i64 = -38;
        if result == Some(ENOSYS) && numbers[step.call] >= 424 && !step.told.starts_with('!') {
            continue; // a kernel without it
        }
        let expected: Vec<_> = expected(step, result).into_iter().collect();
        let mut found = told.get(number).cloned().unwrap_or_default();
        if result.is_none() {
            found.truncate(1); // what the new program does comes behind
        }
        if !shown::fits(&found, &expected, result) {
            wrong.push(format!(
                "{} {} = {result:?}\n  told:     {found:?}\n  expected: {expected:?}",
                step.call, step.arguments
            ));
        }
    }
    wrong
}

#[test]
fn every_call_is_told() {
    every_call_by("syscall");
}

#[test]
fn every_call_by_the_old_door_is_told() {
    every_call_by("int80");
}
