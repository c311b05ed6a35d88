//! `picket run`: real programs under the real tracer, findings on standard error.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};

fn picket(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_picket"));
    command.args(arguments).env("NO_COLOR", "1");
    command
}

fn output(command: &mut Command) -> (Option<i32>, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().expect("picket runs");
    assert_eq!(status.signal(), None, "picket itself is not killed");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (status.code(), text(stdout), text(stderr))
}

fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    output(&mut picket(arguments))
}

#[test]
fn exits_as_the_command_does() {
    for (command, code) in [
        (vec!["true"], 0),
        (vec!["sh", "-c", "exit 42"], 42),
        (vec!["sh", "-c", "kill -TERM $$"], 128 + 15),
        (vec!["/nonexistent"], 127),
        (vec!["no-such-program-anywhere"], 127),
        (vec!["/etc/passwd"], 126),
    ] {
        let arguments: Vec<_> = ["run", "--"].into_iter().chain(command.clone()).collect();
        assert_eq!(run(&arguments).0, Some(code), "{command:?}");
    }
}

#[test]
fn what_is_no_command_of_ours_or_could_not_be_started_has_a_code_of_its_own() {
    for (words, code) in [
        (&["run", "--rules", "/nonexistent", "--", "true"][..], 125),
        (&["run", "--output", "/nonexistent/x", "--", "true"], 125),
        (&["run", "true"], 64),
        (&["frobnicate"], 64),
        (&["status", "--frobnicate"], 64),
        (&["rules", "check", "/nonexistent"], 1),
        (&["inject", "--sidecar-image", "a@b@c", "-f", "-"], 64),
        (&["rules", "--help"], 0),
        (&["--version"], 0),
    ] {
        let (found, _, said) = run(words);
        assert_eq!(found, Some(code), "{words:?}: {said}");
    }
}

#[test]
fn a_file_that_is_no_task_definition_is_named() {
    let (code, _, said) = run(&["ecs", "inject", "/etc/passwd"]);
    assert_eq!(code, Some(1));
    assert!(
        said.contains("/etc/passwd: ") && said.contains("line 1"),
        "{said}"
    );
}

#[test]
fn what_is_said_of_an_image_that_nobody_asks_for_is_not_passed_over() {
    let deployment = concat!(env!("CARGO_MANIFEST_DIR"), "/demo/deployment.yaml");
    let (code, _, said) = run(&[
        "inject",
        "-f",
        deployment,
        "--image-config",
        "web:1=web.json",
    ]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("no container needs to know what web:1 runs"),
        "{said}"
    );
}

#[test]
fn a_finding_shows_its_process_tree_and_leaves_standard_output_alone() {
    let folder = tempfile::tempdir().unwrap();
    let tool = folder.path().join("tool");
    let script = format!(
        "cp /bin/true {0}; chmod +x {0}; {0}; echo done",
        tool.display()
    );
    let (code, stdout, stderr) = run(&["run", "--", "sh", "-c", &script]);
    assert_eq!((code, stdout.as_str()), (Some(0), "done\n"), "{stderr}");
    let expected = "Execution:Runtime/NewBinaryExecuted";
    assert!(stderr.contains(expected), "{stderr}");
    let branch = format!("└─ {} (", tool.display());
    assert!(stderr.contains(&branch), "{stderr}");
    assert!(stderr.contains("picket: 1 finding in "), "{stderr}");
}

#[test]
fn findings_that_no_rule_makes_are_counted_too() {
    // The parent is the tracer, and stopping it is refused.
    let (code, _, stderr) = run(&["run", "--", "sh", "-c", "kill -STOP $PPID || exit 3"]);
    assert_eq!(code, Some(3), "{stderr}");
    assert!(stderr.contains("tampering"), "{stderr}");
    assert!(stderr.contains("picket: 1 finding in "), "{stderr}");
}

#[test]
fn json_is_one_object_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let findings = folder.path().join("findings.jsonl");
    let tool = folder.path().join("tool");
    let script = format!("cp /bin/true {0}; chmod +x {0}; {0}", tool.display());
    let path = findings.to_str().unwrap();
    let (code, _, stderr) = run(&["run", "--json", "--output", path, "--", "sh", "-c", &script]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    let lines: Vec<serde_json::Value> = fs::read_to_string(&findings)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line is JSON"))
        .collect();
    let rules: Vec<_> = lines.iter().map(|line| &line["agent"]["rule_id"]).collect();
    assert_eq!(rules[0], "ruleset_loaded");
    assert!(
        rules
            .iter()
            .any(|rule| **rule == "picket_new_binary_executed"),
        "{rules:?}"
    );
}

#[test]
fn own_rules_are_used_and_verbose_shows_what_they_saw() {
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("own.policy");
    fs::write(
        &rules,
        "rules:\n  - id: reads_hostname\n    expression: open.file.path == \"/etc/hostname\"\n    tags: {title: Somebody asks who we are}\n",
    )
    .unwrap();
    let rules = rules.to_str().unwrap();
    let arguments = ["run", "--verbose", "--no-default-rules", "--rules", rules];
    let (code, _, stderr) = run(&[&arguments[..], &["--", "cat", "/etc/hostname"]].concat());
    assert_eq!(code, Some(0));
    assert!(stderr.contains("Somebody asks who we are"), "{stderr}");
    assert!(
        stderr.contains("cat             exec"),
        "the exec is shown: {stderr}"
    );
}

#[test]
fn a_bad_rule_file_names_file_rule_line_and_column_and_nothing_runs() {
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("bad.policy");
    fs::write(
        &rules,
        "rules:\n  - id: misspelt\n    expression: open.file.pth == \"/x\"\n",
    )
    .unwrap();
    let path = rules.to_str().unwrap();
    let (code, stdout, stderr) = run(&["run", "--rules", path, "--", "echo", "ran"]);
    assert_eq!((code, stdout.as_str()), (Some(125), ""));
    for part in [path, "misspelt", ":3:17:", "open.file.path"] {
        assert!(stderr.contains(part), "no {part:?} in {stderr}");
    }
}

#[test]
fn works_for_people_who_are_not_root() {
    let folder = tempfile::tempdir().unwrap();
    let binary = folder.path().join("picket");
    fs::copy(env!("CARGO_BIN_EXE_picket"), &binary).unwrap();
    for path in [folder.path(), binary.as_path()] {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    // As root the test becomes somebody else; as anybody else it already is.
    let mut command = match nix::unistd::geteuid().is_root() {
        true => {
            let mut command = Command::new("setpriv");
            command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
            command.arg(&binary);
            command
        }
        false => Command::new(&binary),
    };
    command.args(["run", "--verbose", "--", "cat", "/etc/hostname"]);
    let (code, _, stderr) = output(command.current_dir("/"));
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stderr.contains("/etc/hostname read"), "{stderr}");
}

#[test]
fn samples_of_every_type_are_written_and_say_what_they_are() {
    let (code, lines, _) = run(&["samples", "--json"]);
    assert_eq!(code, Some(0));
    for line in lines.lines() {
        let line: serde_json::Value = serde_json::from_str(line).expect("a line is JSON");
        assert_eq!(line["finding"]["sample"], true, "{line}");
    }
    assert!(lines.lines().count() > 40);
    let (_, text, _) = run(&["samples"]);
    assert!(text.contains("[SAMPLE] Reverse shell"), "{text}");
}

#[test]
fn a_shell_is_told_what_a_command_line_can_go_on_with() {
    let (code, script, _) = run(&["completion", "bash"]);
    assert_eq!(code, Some(0));
    assert!(
        script.contains("PICKET_COMPLETE") && script.contains("complete"),
        "{script}"
    );
    for (words, expected) in [
        (
            ["picket", "rules", "fields", "open.file.pa"],
            "open.file.path",
        ),
        (["picket", "rules", "fields", "conn"], "connect"),
        (
            ["picket", "rules", "explain", "picket_rev"],
            "picket_reverse_shell",
        ),
        (["picket", "rules", "fi", ""], "fields"),
    ] {
        let (_, candidates, _) = output(
            picket(&["--"])
                .args(words)
                .env("PICKET_COMPLETE", "bash")
                .env(
                    "_CLAP_COMPLETE_INDEX",
                    if words[3].is_empty() { "2" } else { "3" },
                )
                .env("_CLAP_IFS", "\n"),
        );
        assert!(
            candidates.lines().any(|candidate| candidate == expected),
            "{words:?}: {candidates}"
        );
    }
}

#[test]
fn a_rule_for_a_link_finds_the_program_behind_it() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let link = folder.path().join("tool");
    std::os::unix::fs::symlink("/usr/bin/true", &link).expect("a link");
    let policy = folder.path().join("own.policy");
    let link = link.to_str().expect("a plain path");
    let rules = format!(
        "rules:\n- id: by_path\n  expression: exec.file.path == \"{link}\"\n\
         - id: by_name\n  expression: exec.file.name == \"tool\"\n\
         - id: by_file\n  expression: exec.file.path == \"/usr/bin/true\"\n\
         - id: not_by_path\n  expression: exec.file.path != \"{link}\"\n"
    );
    fs::write(&policy, rules).expect("a policy");
    let policy = policy.to_str().expect("a plain path");
    let (code, _, findings) = run(&[
        "run",
        "--json",
        "--no-default-rules",
        "--rules",
        policy,
        "--",
        link,
    ]);
    assert_eq!(code, Some(0), "{findings}");
    let mut found: Vec<String> = findings
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|line| line.get("finding").is_some())
        .filter_map(|line| Some(line["agent"]["rule_id"].as_str()?.to_owned()))
        .collect();
    found.sort();
    assert_eq!(found, ["by_file", "by_name", "by_path"], "{findings}");
}

const DENY: &str = r#"
rules:
  - id: nobody_reads_the_key
    expression: open.file.name == "signing.key"
    actions:
      - deny: {}
"#;

/// Reads a file until it is refused or a minute has gone: rules hold from the agent's welcome on,
/// which may come after the command's first calls.
const READ_UNTIL_REFUSED: &str = r#"for i in $(seq 600); do cat "$0" || exit 7; sleep 0.1; done"#;

#[test]
fn a_file_that_a_rule_denies_is_refused_in_enforce_mode_only() {
    let folder = tempfile::tempdir().unwrap();
    let (key, policy) = (
        folder.path().join("signing.key"),
        folder.path().join("deny.policy"),
    );
    fs::write(&key, "secret\n").unwrap();
    fs::write(&policy, DENY).unwrap();
    let (key, policy) = (key.to_str().unwrap(), policy.to_str().unwrap());
    let with = ["run", "--no-default-rules", "--rules", policy, "--json"];

    let read = [
        "--mode",
        "Enforce",
        "--",
        "sh",
        "-c",
        READ_UNTIL_REFUSED,
        key,
    ];
    let (code, _, stderr) = run(&[&with[..], &read].concat());
    assert_eq!(code, Some(7), "{stderr}");
    assert!(stderr.contains("Operation not permitted"), "{stderr}");
    assert!(stderr.contains("nobody_reads_the_key"), "{stderr}");

    let (code, stdout, stderr) = run(&[&with[..], &["--", "cat", key]].concat());
    assert_eq!((code, stdout.as_str()), (Some(0), "secret\n"), "{stderr}");
    assert!(stderr.contains("monitor_only"), "{stderr}");
}
