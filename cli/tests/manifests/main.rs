//! `picket inject`, `uninject`, `explain`, `crds` and `rules`: files in, text out.

mod streams;

use std::io::Write;
use std::process::{Command, Stdio};

const DEPLOYMENT: &str = include_str!("../../demo/deployment.yaml");
const DEMO_POLICY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/demo/policy.yaml");

fn picket(arguments: &[&str], input: &str) -> (Option<i32>, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_picket"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("picket runs");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(input.as_bytes()).expect("it reads");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

fn yaml(text: &str) -> serde_json::Value {
    serde_saphyr::from_str(text).expect("YAML")
}

#[test]
fn inject_and_uninject_are_inverse() {
    let (code, injected, report) = picket(&["inject", "-f", "-"], DEPLOYMENT);
    assert_eq!(code, Some(0), "{report}");
    let pod = &yaml(&injected)["spec"]["template"]["spec"];
    assert_eq!(pod["initContainers"][0]["name"], "picket-setup");
    assert_eq!(pod["containers"][0]["command"][0], "/picket/picket-tracer");
    let (_, twice, _) = picket(&["inject", "-f", "-"], &injected);
    assert_eq!(yaml(&twice), yaml(&injected), "twice equals once");
    let (code, given_back, _) = picket(&["uninject", "-f", "-"], &injected);
    assert_eq!(code, Some(0));
    assert_eq!(yaml(&given_back), yaml(DEPLOYMENT));
}

#[test]
fn a_policy_that_does_not_select_leaves_the_manifest_alone() {
    let other = DEPLOYMENT.replace("app: shop", "app: other");
    let arguments = ["inject", "-f", "-", "--policy", DEMO_POLICY];
    let (code, injected, report) = picket(&arguments, &other);
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(yaml(&injected), yaml(&other));
    assert!(report.contains("NotSelected"), "{report}");
}

#[test]
fn explain_tells_each_container_and_the_cost() {
    let (code, text, _) = picket(&["explain", "-f", "-", "--policy", DEMO_POLICY], DEPLOYMENT);
    assert_eq!(code, Some(0));
    for part in ["Deployment shop/shop", "shop/protect-shop", "vCPU"] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
}

#[test]
fn diff_shows_nothing_but_the_change() {
    let arguments = ["diff", "-f", "-", "--policy", DEMO_POLICY];
    let (code, text, error) = picket(&arguments, DEPLOYMENT);
    assert_eq!(code, Some(0), "{error}");
    let removed: Vec<&str> = text.lines().filter(|line| line.starts_with('-')).collect();
    assert!(
        text.contains("+ ") && text.contains("picket-setup"),
        "{text}"
    );
    // The command moves behind the tracer; nothing else is taken away.
    assert!(removed.len() <= 4, "{removed:#?}");
}

#[test]
fn a_task_definition_and_back() {
    let task = r#"{"family": "shop", "containerDefinitions": [{"name": "web", "image": "web:1", "entryPoint": ["/web"]}]}"#;
    let (code, injected, report) = picket(&["ecs", "inject", "-"], task);
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(report, "container web: traced\n");
    let parsed: serde_json::Value = serde_json::from_str(&injected).expect("JSON");
    let web = &parsed["containerDefinitions"][0];
    assert_eq!(web["entryPoint"][0], "/picket/picket-tracer");
    assert_eq!(web["command"][0], "/web");
    let (code, back, _) = picket(&["ecs", "uninject", "-"], &injected);
    assert_eq!(code, Some(0));
    let given: serde_json::Value = serde_json::from_str(task).expect("JSON");
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&back).expect("JSON"),
        given
    );
}

/// What pods call `args` is `command` there.
#[test]
fn a_container_of_a_task_without_entry_point_is_told_what_it_lacks() {
    let task = r#"{"family": "shop", "containerDefinitions": [{"name": "web", "image": "web:1", "command": ["-v"]}]}"#;
    let (code, _, report) = picket(&["ecs", "inject", "-"], task);
    assert_eq!(code, Some(1), "{report}");
    assert!(report.contains("give it an `entryPoint`"), "{report}");
    assert!(!report.contains("`command`"), "{report}");
}

#[test]
fn what_is_no_manifest_is_named_with_its_place() {
    let (code, _, error) = picket(&["inject", "-f", "-"], "kind: Pod\n  bad: [indent\n");
    assert_eq!(code, Some(1));
    assert!(error.contains("document 1"), "{error}");
    let (code, _, error) = picket(&["inject", "-f", "/nonexistent.yaml"], "");
    assert_eq!(code, Some(1));
    assert!(error.contains("/nonexistent.yaml"), "{error}");
}

#[test]
fn crds_are_those_that_are_checked_in() {
    let (code, text, _) = picket(&["crds"], "");
    assert_eq!(code, Some(0));
    for (_, manifest) in picket_crds::manifests() {
        assert!(text.contains(manifest.trim()));
    }
}

#[test]
fn rules_check_marks_the_place() {
    let folder = tempfile::tempdir().unwrap();
    let good = folder.path().join("good.policy");
    std::fs::write(
        &good,
        "rules:\n  - {id: fine, expression: 'exec.file.name == \"nc\"'}\n",
    )
    .unwrap();
    let (code, text, _) = picket(&["rules", "check", good.to_str().unwrap()], "");
    assert_eq!(code, Some(0), "{text}");
    let bad = folder.path().join("bad.policy");
    std::fs::write(
        &bad,
        "rules:\n  - id: wrong\n    expression: exec.file.name == 5\n",
    )
    .unwrap();
    let (code, text, _) = picket(&["rules", "check", bad.to_str().unwrap()], "");
    assert_eq!(code, Some(1));
    assert!(text.contains("wrong") && text.contains('^'), "{text}");
}

#[test]
fn rules_eval_answers_line_by_line() {
    let (code, answers, _) = picket(
        &["rules", "eval"],
        "{\"expr\": \"open.file.path == \\\"/etc/shadow\\\"\", \"event\": {\"type\": \"open\", \"open.file.path\": \"/etc/shadow\"}}\n{\"expr\": \"open.file.pth == 1\", \"event\": {\"type\": \"open\"}}\n",
    );
    assert_eq!(code, Some(0));
    let lines: Vec<&str> = answers.lines().collect();
    assert_eq!(lines[0], "{\"result\":true}");
    assert!(
        lines[1].contains("\"error\"") && lines[1].contains("\"column\":1"),
        "{answers}"
    );
}

#[test]
fn the_default_rules_pass_their_own_tests() {
    let tests = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/picket/rules/tests");
    let files: Vec<_> = std::fs::read_dir(tests)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .map(|path| path.display().to_string())
        .collect();
    let lists = format!("{tests}/lists");
    let arguments: Vec<&str> = ["rules", "test", "--lists", &lists]
        .into_iter()
        .chain(files.iter().map(String::as_str))
        .collect();
    let (code, report, _) = picket(&arguments, "");
    assert_eq!(code, Some(0), "{report}");
    assert!(report.contains(" passed, 0 failed"), "{report}");
}
