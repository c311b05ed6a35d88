//! What may be set, and what may not.

use picket_tests::kube::helm::{Helm, chart};
use serde_json::Value;

use crate::ALL;

#[test]
fn helm_finds_no_fault_with_it() {
    let helm = Helm::offline();
    for values in ["log=info", ALL] {
        helm.run(&["lint", "--strict", &chart(), "--set", values])
            .expect_success();
    }
}

#[test]
fn a_wrong_value_is_refused_with_its_key() {
    let helm = Helm::offline();
    for (values, expected) in [
        ("replicas=0", "/replicas"),
        (
            "webhook.port=10250",
            "webhook.port: 10250 belongs to kubelet",
        ),
        (
            "health.port=8443",
            "health.port: 8443 is webhook.port already",
        ),
        ("webhook.port=443", "/webhook/port"),
        (
            "relay.port=8443",
            "relay.port: 8443 is another server's port already",
        ),
        ("image.repository=a:1", "/image/repository"),
        ("sidecar.image.digest=latest", "/sidecar/image/digest"),
        ("injection.enabled=maybe", "/injection/enabled"),
        ("backstop.mode=deny", "/backstop/mode"),
        (
            "monitoring.podMonitor.interval=often",
            "/monitoring/podMonitor/interval",
        ),
        ("certificates.mode=cert-manager", "/certificates/mode"),
        (
            "certificates.secretName=mine",
            "certificates.secretName: only certificates.mode External",
        ),
        (
            "certificates.certManager.issuer.name=ours",
            "certificates.certManager.issuer.name: only certificates.mode CertManager",
        ),
        ("replica=3", "'replica' not allowed"),
        (
            "injection.suspendAfterSeconds=1",
            "/injection/suspendAfterSeconds",
        ),
        (
            "sidecar.revisions[0].revision=v2,sidecar.revisions[0].image=a:2",
            "/sidecar/revisions/0",
        ),
        (
            "sidecar.revision=v2,sidecar.revisions[0].revision=v2,sidecar.revisions[0].image=a:2,sidecar.revisions[0].namespaces={shop}",
            "sidecar.revisions[0].revision: v2 is the revision of all other namespaces too",
        ),
        (
            "imageResolution.pullSecrets=Namespaces",
            "imageResolution.namespaces: empty, but imageResolution.pullSecrets is Namespaces",
        ),
        (
            "imageResolution.namespaces={shop}",
            "imageResolution.namespaces: not looked at while imageResolution.pullSecrets is Off",
        ),
        (
            "imageResolution.enabled=false,imageResolution.credentialsSecret=pull",
            "imageResolution.enabled: false, but credentials",
        ),
        (
            "webhook.timeoutSeconds=2",
            "imageResolution.timeoutMilliseconds: 2000 is not less than webhook.timeoutSeconds",
        ),
    ] {
        let output = helm.run(&["template", &chart(), "--set", values]);
        assert!(!output.success, "{values}");
        assert!(
            output.stderr.contains(expected),
            "{values}: {}",
            output.stderr
        );
    }
}

#[test]
fn every_value_has_a_comment_and_a_place_in_the_schema() {
    let text = std::fs::read_to_string(format!("{}/values.yaml", chart())).expect("values");
    let lines: Vec<&str> = text.lines().collect();
    for (at, line) in lines.iter().enumerate() {
        let is_top = line.starts_with(|first: char| first.is_ascii_lowercase());
        if is_top && !lines[at - 1].is_empty() {
            let before = lines[at - 1];
            // Three that go together share a comment.
            let is_told =
                before.starts_with('#') || before.starts_with(|c: char| c.is_ascii_lowercase());
            assert!(is_told, "{line}");
        }
    }
    let values: Value = serde_saphyr::from_str(&text).expect("YAML");
    let schema =
        std::fs::read_to_string(format!("{}/values.schema.json", chart())).expect("schema");
    let schema: Value = serde_json::from_str(&schema).expect("JSON");
    for key in values.as_object().expect("a map").keys() {
        assert!(schema["properties"][key].is_object(), "{key}");
    }
}
