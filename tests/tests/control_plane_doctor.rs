//! `picket doctor --cluster` against an installation with each fault made for real.
#![allow(missing_docs)]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use k8s_openapi::ByteString;
use picket_tests::kube::helm::{Helm, chart};
use picket_tests::kube::objects::{pod, policy};
use picket_tests::kube::{Authority, ControlPlane, Kubectl, eventually};
use picket_tests::product;
use serde_json::{Value, json};

const NAMESPACE: &str = "picket-system";
const SECRET: &str = "picket-webhook-certificate";
const NAMES: [&str; 1] = ["picket-webhook.picket-system.svc"];
const MONTH: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The names of what is found, and the whole report.
fn examine(kubeconfig: &Path) -> (Vec<String>, Value) {
    let output = Command::new(product("picket"))
        .args(["doctor", "--cluster", "--format", "json"])
        .env("KUBECONFIG", kubeconfig)
        .output()
        .expect("picket starts");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        let said = String::from_utf8_lossy(&output.stderr);
        panic!("{error}: {said}")
    });
    assert_eq!(report["ok"], output.status.success(), "{report:#}");
    let findings = report["findings"].as_array().expect("findings").iter();
    let names = findings.map(|finding| {
        assert!(!finding["remedy"].as_str().expect("remedy").is_empty());
        finding["fault"].as_str().expect("fault").to_owned()
    });
    (names.collect(), report)
}

struct Patient {
    control_plane: ControlPlane,
    kubectl: Kubectl,
}

impl Patient {
    /// What is found has this fault, or has it no more.
    fn expect(&self, fault: &str, is_there: bool) -> Value {
        let (found, report) = examine(&self.control_plane.kubeconfig("admin"));
        let has = found.iter().any(|name| name == fault);
        assert_eq!(has, is_there, "{fault}: {report:#}");
        report
    }

    fn patch(&self, object: &str, subresource: &str, patch: Value) {
        let patch = patch.to_string();
        let subresource = format!("--subresource={subresource}");
        let mut arguments = vec![
            "patch",
            object,
            "-n",
            NAMESPACE,
            "--type=json",
            "-p",
            &patch,
        ];
        if subresource != "--subresource=" {
            arguments.push(&subresource);
        }
        self.kubectl.run(&arguments, "").expect_success();
    }

    fn trust(&self, trust: &str) {
        let name = "zz-picket";
        let configuration = self
            .kubectl
            .get("mutatingwebhookconfiguration", NAMESPACE, name)
            .expect("the configuration");
        let entries = configuration["webhooks"].as_array().expect("entries").len();
        let trust = json!(ByteString(trust.as_bytes().to_vec()));
        let patch: Vec<Value> = (0..entries)
            .map(|entry| {
                let path = format!("/webhooks/{entry}/clientConfig/caBundle");
                json!({"op": "add", "path": path, "value": trust})
            })
            .collect();
        let object = format!("mutatingwebhookconfiguration/{name}");
        self.patch(&object, "", json!(patch));
    }

    fn status(&self, pod: &str, status: Value) {
        let patch = json!([{"op": "replace", "path": "/status", "value": status}]);
        self.patch(&format!("pod/{pod}"), "status", patch);
    }
}

#[test]
fn every_fault_that_can_be_made_here_is_named() {
    let control_plane = ControlPlane::start().expect("a control plane of its own");
    let kubectl = control_plane.kubectl();
    let helm = Helm::of(&control_plane);
    let patient = Patient {
        control_plane,
        kubectl,
    };
    let (found, report) = examine(&patient.control_plane.kubeconfig("admin"));
    let (missing, others): (Vec<_>, Vec<_>) = found.iter().partition(|name| *name == "CrdMissing");
    assert!(!missing.is_empty(), "{report:#}");
    assert_eq!(others, ["OperatorMissing", "WebhookMissing"], "{report:#}");

    let release = |verb: &str, values: &str| {
        let chart = chart();
        let mut arguments = vec![verb, "picket", &chart, "-n", NAMESPACE, "--no-hooks"];
        arguments.extend(["--wait=hookOnly", "--set", values]);
        if verb == "install" {
            arguments.push("--create-namespace");
        }
        helm.run(&arguments).expect_success();
    };
    release("install", "replicas=2");
    let wait = [
        "wait",
        "--for=condition=Established",
        "--timeout=60s",
        "--all",
        "crd",
    ];
    patient.kubectl.run(&wait, "").expect_success();
    // Nothing runs here: no replica, no certificate, no endpoints.
    for fault in [
        "OperatorNotReady",
        "CertificateUnusable",
        "CaBundleMissing",
        "WebhookUnreachable",
        "NoPolicy",
    ] {
        patient.expect(fault, true);
    }
    patient.expect("CrdMissing", false);

    let deployment = "deployment/picket-operator";
    for (ready, fault) in [(1, "OperatorDegraded"), (2, "OperatorNotReady")] {
        let status = json!({"replicas": 2, "readyReplicas": ready});
        let patch = json!([{"op": "replace", "path": "/status", "value": status}]);
        patient.patch(deployment, "status", patch);
        patient.expect(fault, ready == 1);
    }
    let port = "/spec/template/spec/containers/0/ports/0/containerPort";
    let patch = |port_number: u16| json!([{"op": "replace", "path": port, "value": port_number}]);
    patient.patch(deployment, "", patch(10_250));
    patient.expect("PortReserved", true);
    patient.patch(deployment, "", patch(8443));

    let authority = Authority::new();
    let secret = authority.secret(NAMESPACE, SECRET, &NAMES, MONTH);
    patient.kubectl.apply(&secret, false);
    patient.expect("CertificateUnusable", false);
    patient.trust(Authority::new().certificate());
    patient.expect("CaBundleStale", true);
    patient.trust(authority.certificate());
    let report = patient.expect("CaBundleStale", false);
    assert!(
        !report.to_string().contains("CaBundleMissing"),
        "{report:#}"
    );

    let other = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": "zzz-mesh"},
        "webhooks": [{
            "name": "mesh.example.com", "sideEffects": "None", "failurePolicy": "Ignore",
            "admissionReviewVersions": ["v1"],
            "clientConfig": {"url": "https://127.0.0.1:1/"},
            "objectSelector": {"matchLabels": {"never": "there"}},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"],
                       "resources": ["pods"]}],
        }],
    });
    patient.kubectl.apply(&other, false);
    patient.expect("WebhookSortsAfter", true);
    let remove = ["delete", "mutatingwebhookconfiguration", "zzz-mesh"];
    patient.kubectl.run(&remove, "").expect_success();

    // Nobody writes statuses, and nobody answers for the namespace that enforces.
    let labels = [("picket.dev/enforce", "true")];
    let namespace = patient.control_plane.namespace("enforced", &labels);
    let plain = policy(&namespace, "all", json!({"mode": "Monitor"}));
    patient.kubectl.apply(&plain, false);
    let report = eventually("the enforced entry is in force", || {
        let (_, report) = examine(&patient.control_plane.kubeconfig("admin"));
        let said = report.to_string();
        said.contains("failed calling webhook").then_some(said)
    });
    assert!(report.contains("WebhookUnreachable"), "{report}");
    assert!(report.contains("security group"), "{report}");
    patient.expect("PolicyNotAssessed", true);
    patient.expect("NoFargatePods", true);
    patient.expect("NoPolicy", false);

    let mut operator = pod(NAMESPACE, "operator");
    // No controller makes the namespace's own account here.
    operator["spec"]["serviceAccountName"] = json!("picket-operator");
    operator["metadata"]["labels"] = json!({
        "app.kubernetes.io/name": "picket", "app.kubernetes.io/component": "operator"});
    patient.kubectl.apply(&operator, false);
    let unscheduled = json!({"conditions": [{
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
        "message": "no Fargate profile matches"}]});
    patient.status("operator", unscheduled);
    patient.expect("NotScheduled", true);
    let image = "registry.example/picket:1";
    let pulling = json!({"containerStatuses": [{
        "name": "operator", "image": image, "imageID": "", "ready": false, "restartCount": 0,
        "state": {"waiting": {"reason": "ImagePullBackOff", "message": "not found"}}}]});
    patient.status("operator", pulling);
    let report = patient.expect("ImageUnpullable", true);
    assert!(report.to_string().contains(image), "{report:#}");

    rights_of_the_test_suffice(&patient, &helm);

    release("upgrade", "replicas=2,injection.enabled=false");
    patient.expect("InjectionDisabled", true);
    let description = "/spec/versions/0/schema/openAPIV3Schema/description";
    let patch = json!([{"op": "add", "path": description, "value": "as it once was"}]);
    patient.patch("crd/protectionpolicies.picket.dev", "", patch);
    patient.expect("CrdOutdated", true);
}

/// With the rights that `helm test` has, what may not be asked is said, and nothing else is
/// missed.
fn rights_of_the_test_suffice(patient: &Patient, helm: &Helm) {
    let (everything, _) = examine(&patient.control_plane.kubeconfig("admin"));
    let chart = chart();
    let rendered = helm
        .run(&[
            "template",
            "picket",
            &chart,
            "-n",
            NAMESPACE,
            "--show-only",
            "templates/tests/doctor.yaml",
        ])
        .expect_success();
    for document in rendered.stdout.split("\n---") {
        let object: Value = serde_saphyr::from_str(document).expect("YAML");
        if object["kind"].is_string() && object["kind"] != "Pod" {
            patient.kubectl.apply(&object, false);
        }
    }
    let token = patient
        .kubectl
        .run(&["create", "token", "picket-doctor", "-n", NAMESPACE], "")
        .expect_success();
    let kubeconfig = patient
        .control_plane
        .write_kubeconfig("doctor", token.stdout.trim())
        .expect("kubeconfig");
    let (found, report) = examine(&kubeconfig);
    // What only a trial pod tells, which the test may not create.
    let by_trial = |name: &str| ["WebhookUntrusted", "PodNotInjected"].contains(&name);
    for name in everything {
        assert!(
            found.contains(&name) || by_trial(&name),
            "{name} is missed: {report:#}"
        );
    }
    let refused = report["findings"].as_array().expect("findings").iter();
    let refused: Vec<String> = refused
        .filter(|finding| finding["fault"] == "NotAllowed")
        .map(|finding| finding["message"].to_string())
        .collect();
    assert_eq!(refused.len(), 2, "{refused:#?}");
    assert!(
        refused.iter().any(|one| one.contains("secrets")),
        "{refused:#?}"
    );
    assert!(
        refused
            .iter()
            .any(|one| one.contains("cannot create resource")),
        "{refused:#?}"
    );
}
