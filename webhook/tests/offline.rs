//! The offline commands, and that they answer as the webhook does.

mod common;

use std::fs;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use common::Case;
use picket_webhook::admission::Entry;
use picket_webhook::admission::review::Request;
use picket_webhook::admission::service::{Known, answer};
use picket_webhook::entrypoint::Images;
use picket_webhook::inject::{Options, catch_all, inject_manifest, uninject_manifest};
use picket_webhook::{Outcome, Policy, Reason, Settings};
use serde_json::Value;

const MANIFEST: &str = "\
# Source: shop/templates/config.yaml
apiVersion: v1
kind: ConfigMap # stays as it is
metadata: {name: web}
data: {mode: \"0644\"}
---
# Source: shop/templates/web.yaml
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  namespace: shop
spec:
  replicas: 2
  template:
    metadata:
      labels:
        app: web
    spec:
      terminationGracePeriodSeconds: 5
      containers:
      - name: web
        image: registry.example/web:1
        args: [\"-v\"]
        command:
        - /bin/web
        ports:
        - containerPort: 8080
      volumes: []
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: report}
spec:
  schedule: \"@daily\"
  jobTemplate:
    spec:
      template:
        spec:
          restartPolicy: Never
          containers:
          - {name: report, image: registry.example/report:1, command: [/report]}
---
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Pod
  metadata: {name: bare, namespace: shop}
  spec:
    containers:
    - {name: bare, image: redis:7}
- apiVersion: apps/v1
  kind: StatefulSet
  metadata: {name: db, namespace: blog}
  spec:
    template:
      spec:
        containers:
        - {name: db, image: postgres:16, command: [postgres]}
";

fn parse(text: &str) -> Vec<Value> {
    serde_saphyr::from_str_multiple::<Value, Vec<_>>(text).unwrap()
}

fn inject(
    text: &str,
    settings: &Settings,
    policies: &[Arc<Policy>],
) -> picket_webhook::inject::Injected {
    inject_manifest(
        text,
        &Options {
            settings,
            policies,
            namespace: "shop",
            fargate: None,
            images: Images::NONE,
        },
    )
    .unwrap()
}

/// Kubernetes' own controllers of pods, with where each has its pod template. The documentation names them.
#[test]
fn the_pods_of_every_controller_are_traced_and_given_back() {
    let policies = [Arc::new(catch_all("shop"))];
    let template =
        r#"{"spec": {"containers": [{"name": "web", "image": "web:1", "command": ["/web"]}]}}"#;
    let documented = include_str!("../../docs/injection.md");
    for (version, kind, at_end) in [
        ("apps/v1", "Deployment", ""),
        ("apps/v1", "StatefulSet", ""),
        ("apps/v1", "DaemonSet", ""),
        ("apps/v1", "ReplicaSet", ""),
        ("v1", "ReplicationController", ""),
        ("batch/v1", "Job", ""),
        ("batch/v1", "CronJob", "jobTemplate"),
    ] {
        let spec = match at_end {
            "" => format!(r#"{{"template": {template}}}"#),
            at => format!(r#"{{"{at}": {{"spec": {{"template": {template}}}}}}}"#),
        };
        let text = format!(
            r#"{{"apiVersion": "{version}", "kind": "{kind}", "metadata": {{"name": "web"}}, "spec": {spec}}}"#
        );
        let injected = inject(&text, &common::settings(), &policies);
        let reasons: Vec<_> = injected
            .workloads
            .iter()
            .map(|workload| (workload.kind.as_str(), workload.report.reason))
            .collect();
        assert_eq!(reasons, [(kind, Reason::Injected)]);
        assert!(injected.text.contains("/picket/picket-tracer"), "{kind}");
        let (back, changed) = uninject_manifest(&injected.text).unwrap();
        assert_eq!(changed, 1, "{kind}");
        assert_eq!(parse(&back), parse(&text));
        assert!(documented.contains(&format!("{kind}s")), "{kind}");
    }
}

#[test]
fn every_kind_of_workload_is_found() {
    let policies = [Arc::new(catch_all("shop"))];
    let injected = inject(MANIFEST, &common::settings(), &policies);
    let found: Vec<_> = injected
        .workloads
        .iter()
        .map(|workload| {
            (
                workload.document,
                format!("{} {}/{}", workload.kind, workload.namespace, workload.name),
                workload.report.reason,
            )
        })
        .collect();
    assert_eq!(
        found,
        [
            (2, "Deployment shop/web".to_owned(), Reason::Injected),
            (3, "CronJob shop/report".to_owned(), Reason::Injected),
            (4, "Pod shop/bare".to_owned(), Reason::EntrypointUnresolved),
            (4, "StatefulSet blog/db".to_owned(), Reason::NotSelected),
        ]
    );
    let before: Vec<&str> = MANIFEST.split("---\n").collect();
    let after: Vec<&str> = injected.text.split("---\n").collect();
    assert_eq!(after.len(), before.len());
    assert_eq!(
        (after[0], after[3]),
        (before[0], before[3]),
        "what does not change stays byte for byte"
    );
    assert!(after[1].starts_with("# Source: shop/templates/web.yaml\napiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: web\n"));
    let args = after[1].find("\n        args:").unwrap();
    assert!(
        args < after[1].find("\n        command:").unwrap(),
        "the order of keys stays"
    );
    assert!(injected.workloads[0].report.workload.as_deref() == Some("Deployment/web"));
}

#[test]
fn inject_twice_equals_once_and_uninject_gives_back() {
    let policies = [Arc::new(catch_all("shop"))];
    let once = inject(MANIFEST, &common::settings(), &policies);
    let twice = inject(&once.text, &common::settings(), &policies);
    assert_eq!(twice.text, once.text);
    assert_eq!(twice.workloads[0].report.reason, Reason::Current);
    let (text, changed) = uninject_manifest(&once.text).unwrap();
    assert_eq!(changed, 2);
    let given_back: Vec<_> = parse(&text).iter().map(common::without_empty).collect();
    let original: Vec<_> = parse(MANIFEST).iter().map(common::without_empty).collect();
    assert_eq!(given_back, original);
    assert_eq!(
        uninject_manifest(MANIFEST).unwrap(),
        (MANIFEST.to_owned(), 0)
    );
}

#[test]
fn appended_pull_secrets_are_taken_back() {
    let settings = Settings {
        image_pull_secrets: vec!["own".into(), "picket".into()],
        ..common::settings()
    };
    let manifest = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec:\n  imagePullSecrets: [{name: own}]\n  containers:\n  - {name: web, image: a, command: [b]}\n";
    let once = inject(manifest, &settings, &[Arc::new(catch_all("shop"))]);
    let twice = inject(&once.text, &settings, &[Arc::new(catch_all("shop"))]);
    assert_eq!(
        parse(&twice.text)[0]["spec"]["imagePullSecrets"],
        serde_json::json!([{"name": "own"}, {"name": "picket"}])
    );
    let (text, _) = uninject_manifest(&twice.text).unwrap();
    assert_eq!(parse(&text), parse(manifest));
}

/// The webhook's answer to a review of the case's pod, applied.
fn reviewed(case: &Case) -> (Value, picket_webhook::Report) {
    let review = serde_json::json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "1",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "namespace": case.namespace,
            "operation": "CREATE",
            "object": case.pod,
        },
    });
    let known = Known {
        policies: &case.policies,
        facts: &case.facts,
        settings: &case.settings,
        images: Images::NONE,
        suspension: None,
    };
    let request = Request::parse(review.to_string().as_bytes()).unwrap();
    let (response, decided) = answer(&request, Entry::Ignore, &known).unwrap();
    let mut pod = case.pod.clone();
    if let Some(patch) = response.patch {
        let patch = STANDARD.decode(patch).unwrap();
        let patch: json_patch::Patch = serde_json::from_slice(&patch).unwrap();
        json_patch::patch(&mut pod, &patch).unwrap();
    }
    (pod, decided.report)
}

/// Every golden case through `picket inject` and through the webhook.
#[test]
fn the_same_answer_as_the_webhook() {
    let mut injected_pods = 0;
    let mut compared = 0;
    for case in Case::all() {
        // These exist offline only.
        if case.known.fargate.is_some() || case.known.workload.is_some() {
            continue;
        }
        compared += 1;
        let (online, report) = reviewed(&case);
        let mut text = case.text.clone();
        if let Ok(facts) = fs::read_to_string(case.folder.join("namespace.yaml")) {
            text.push_str("\n---\n");
            text.push_str(&facts);
        }
        let options = Options {
            settings: &case.settings,
            policies: &case.policies,
            namespace: &case.namespace,
            fargate: None,
            images: Images::NONE,
        };
        // A file cannot say that a Secret is missing.
        if !case.facts.missing_secrets.is_empty() {
            continue;
        }
        let offline = inject_manifest(&text, &options).unwrap();
        assert_eq!(offline.workloads[0].report, report, "{}", case.name);
        assert_eq!(parse(&offline.text)[0], online, "{}", case.name);
        injected_pods += usize::from(report.outcome() == Outcome::Injected);
    }
    assert!(compared >= 55, "only {compared} cases are compared");
    assert!(
        injected_pods >= 30,
        "only {injected_pods} pods are injected"
    );
}

/// What `picket inject` adds to a pod of the corpus `picket uninject` takes away: same meaning,
/// same order.
#[test]
fn every_golden_pod_comes_back() {
    let mut given_back = 0;
    for case in Case::all() {
        let options = Options {
            settings: &case.settings,
            policies: &case.policies,
            namespace: &case.namespace,
            fargate: case.known.fargate,
            images: Images::NONE,
        };
        let text = fs::read_to_string(case.folder.join("pod.yaml")).unwrap();
        if uninject_manifest(&text).unwrap().1 > 0 {
            // It arrived with additions of ours: the original is the one without them.
            continue;
        }
        let injected = inject_manifest(&text, &options).unwrap();
        let (back, changed) = uninject_manifest(&injected.text).unwrap();
        assert_eq!(
            common::without_empty(&parse(&back)[0]).to_string(),
            common::without_empty(&case.pod).to_string(),
            "{}",
            case.name
        );
        given_back += changed;
    }
    assert!(given_back >= 30, "only {given_back} pods are given back");
}

#[test]
fn what_is_no_manifest_is_an_error_with_its_document() {
    let policies = [Arc::new(catch_all("shop"))];
    let settings = common::settings();
    let options = Options {
        settings: &settings,
        policies: &policies,
        namespace: "shop",
        fargate: None,
        images: Images::NONE,
    };
    let error = inject_manifest("a: 1\n---\nb: [\n", &options).unwrap_err();
    assert_eq!(error.document, 2);
    assert_eq!(
        inject_manifest("just text\n", &options).unwrap().text,
        "just text\n"
    );
}

#[test]
fn explain_reads_as_text() {
    let injected = inject(
        MANIFEST,
        &common::settings(),
        &[Arc::new(catch_all("shop"))],
    );
    let text = injected.workloads[2].to_string();
    assert!(
        text.starts_with("Pod shop/bare\n  Failed: EntrypointUnresolved: "),
        "{text}"
    );
}
