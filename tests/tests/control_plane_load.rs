//! Pods go on being injected, every one of them, while the control plane changes.
#![allow(missing_docs)]

use std::path::Path;
use std::time::Duration;

use picket_tests::kube::coverage::coverage;
use picket_tests::kube::helm::chart;
use picket_tests::kube::objects::{assert_injected, is_bare, pod, policy};
use picket_tests::kube::release::Release;
use picket_tests::kube::{Authority, ControlPlane, Load, Operator, Options, eventually};
use serde_json::json;

/// How many pods a test wants to see at least; `make bench-rotation` wants more.
fn wanted() -> usize {
    let wanted = std::env::var("PICKET_ADMISSIONS").ok();
    wanted.map_or(1000, |wanted| wanted.parse().expect("a number"))
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[test]
fn no_admission_fails_while_the_authority_changes() {
    let ending = Authority::valid_for(30 * DAY);
    let options = Options {
        replicas: 2,
        // As soon as this API server knows of another caBundle.
        arguments: vec!["--certificate-grace-seconds=5".to_owned()],
        stored_certificate: Some(ending.whole_secret("picket-webhook-certificate", 20 * DAY)),
        ..Options::default()
    };
    let operator = Operator::install(ControlPlane::shared(), &options);
    // A call that fails refuses the pod here.
    let namespace = operator.protected("rotation", &[("picket.dev/enforce", "true")]);
    let load = Load::start(ControlPlane::shared(), &namespace, 4);
    let old = ending.certificate().trim().to_owned();
    let trust = || String::from_utf8(operator.trust().expect("published")).expect("PEM");
    eventually("both authorities are published", || {
        let trust = trust();
        (trust.contains(&old) && trust.matches("BEGIN").count() == 2).then_some(())
    });
    eventually("every replica serves a certificate of the new one", || {
        let trust = trust();
        let new = trust.replace(&old, "");
        let mut replicas = operator.replicas.iter();
        replicas
            .all(|replica| replica.post("/mutate", "{}", new.as_bytes()).is_some())
            .then_some(())
    });
    load.go_on(wanted().saturating_sub(load.admitted()).max(200));
    let outcome = load.end();
    println!("{} pods while the authority changed", outcome.admitted);
    assert_eq!((outcome.failed, outcome.faults), (0, Vec::new()));
}

/// The chart as one before it was, but for what the values say.
fn previous_chart() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let copied = std::process::Command::new("cp")
        .args(["-rL", &chart()])
        .arg(folder.path())
        .status();
    assert!(copied.is_ok_and(|status| status.success()));
    let file = folder.path().join("picket/Chart.yaml");
    let text = std::fs::read_to_string(&file).expect("Chart.yaml");
    let lines = text.lines().map(|line| match line.split_once(':') {
        Some((key @ ("version" | "appVersion"), _)) => format!("{key}: 0.0.9"),
        _ => line.to_owned(),
    });
    std::fs::write(&file, lines.collect::<Vec<_>>().join("\n")).expect("Chart.yaml");
    folder
}

#[test]
fn no_admission_fails_while_helm_upgrades_and_all_pods_of_the_control_plane_are_replaced() {
    let control_plane = ControlPlane::start().unwrap_or_else(|error| panic!("{error}"));
    let control_plane: &'static ControlPlane = Box::leak(Box::new(control_plane));
    let kubectl = control_plane.kubectl();
    let before = previous_chart();
    let before = before.path().join("picket");
    let values = |tag: &str| format!("sidecar.image.tag={tag},imageResolution.enabled=false");
    let first = format!("{},preflight.enabled=false", values("old"));
    let mut release = Release::install(control_plane, &path(&before), &first);
    let namespace = control_plane.namespace("upgrade", &[("picket.dev/enforce", "true")]);
    let any = json!({"computeType": "Any"});
    kubectl.apply(&policy(&namespace, "all", any), false);
    eventually("pods are injected", || {
        let create = ["create", "--dry-run=server", "-o", "json", "-f", "-"];
        let output = kubectl.run(&create, &pod(&namespace, "a").to_string());
        (output.success && !is_bare(&output.json())).then_some(())
    });

    let load = Load::start(control_plane, &namespace, 2);
    load.go_on(50);
    assert!(load.image().ends_with(":old"), "{}", load.image());
    release.upgrade(&chart(), &values("new"));
    load.go_on(50);
    release.roll();
    load.go_on(50);
    assert!(load.image().ends_with(":new"), "{}", load.image());
    let outcome = load.end();
    println!("{} pods while the chart was upgraded", outcome.admitted);
    assert_eq!((outcome.failed, outcome.faults), (0, Vec::new()));
}

fn path(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[test]
fn pods_that_start_bare_while_the_operator_is_down_are_reported_and_later_ones_injected() {
    let options = Options::default();
    let mut operator = Operator::install(ControlPlane::shared(), &options);
    let namespace = operator.protected("down", &[]);
    let kubectl = operator.kubectl();
    assert_injected(&kubectl.apply(&pod(&namespace, "before"), false));
    operator.replicas[0].process().signal("KILL");
    eventually("the process is gone", || {
        (!operator.replicas[0].process().is_running()).then_some(())
    });
    assert!(is_bare(&kubectl.apply(&pod(&namespace, "during"), false)));

    operator.restart(&options);
    let gap = eventually("the bare pod is reported", || {
        let row = coverage(&kubectl, &namespace, "Pod", "during");
        let gaps = row["gaps"].as_array()?.clone();
        gaps.into_iter().find(|gap| gap["gap"] == "Uninjected")
    });
    assert_eq!(gap["pods"], 1, "{gap:#}");
    assert_injected(&kubectl.apply(&pod(&namespace, "after"), false));
}
