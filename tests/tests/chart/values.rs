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
        ("preflight.enabled=yes", "/preflight/enabled"),
        ("crds.keep=maybe", "/crds/keep"),
        ("crds.remove=true", "'remove' not allowed"),
        ("relay.port=10250", "relay.port: 10250 belongs to kubelet"),
        (
            "relay.port=8080",
            "relay.port: 8080 is another server's port already",
        ),
        ("webhook.timeoutSeconds=31", "/webhook/timeoutSeconds"),
        (
            "certificates.certManager.duration=0",
            "/certificates/certManager/duration",
        ),
        (
            "imageResolution.enabled=false,imageResolution.mirrors={a=b}",
            "imageResolution.enabled: false, but credentials",
        ),
        ("breakGlass.groups=oncall", "/breakGlass/groups"),
        ("sidecar.image.tag=a tag", "/sidecar/image/tag"),
        ("priorityClassName=High", "/priorityClassName"),
        ("resources.limits.memory=lots", "/resources/limits/memory"),
        ("resources.limit.memory=1Gi", "'limit' not allowed"),
        (
            "webhook.excludedNamespaces={Shop}",
            "/webhook/excludedNamespaces/0",
        ),
        (
            "webhook.certificateNames={https://a}",
            "/webhook/certificateNames/0",
        ),
        ("datadog.secretNames={a_b}", "/datadog/secretNames/0"),
        (
            "networkPolicy.metricsFrom[0].ipBlock.cidr=10.0.0.0/8",
            "networkPolicy.metricsFrom: not looked at while networkPolicy.enabled is false",
        ),
        (
            "monitoring.podMonitor.enabled=true,monitoring.serviceMonitor.enabled=true",
            "monitoring.serviceMonitor.enabled: monitoring.podMonitor.enabled reads the same",
        ),
        (
            "certificates.mode=CertManager,certificates.certManager.renewBefore=720h",
            "certificates.certManager.renewBefore: 720h is not less than",
        ),
        (
            "imageResolution.allowNetworks={10.1.0.0/16},imageResolution.refuseNetworks={10.1.0.0/16}",
            "imageResolution.refuseNetworks: 10.1.0.0/16 is in imageResolution.allowNetworks too",
        ),
        (
            r"podLabels.app\.kubernetes\.io/name=mine",
            "podLabels: app.kubernetes.io/name is a label of the chart's own",
        ),
        (
            r"labels.helm\.sh/chart=mine",
            "labels: helm.sh/chart is a label of the chart's own",
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

/// Keys whose comment is that of the list or map in which they stand.
const TOLD_TOGETHER: [&str; 11] = [
    "backstop.mode",
    "certificates.certManager",
    "certificates.certManager.issuer.group",
    "certificates.certManager.issuer.name",
    "certificates.certManager.renewBefore",
    "monitoring.podMonitor.enabled",
    "monitoring.serviceMonitor.enabled",
    "monitoring.rules.enabled",
    "monitoring.rules.labels",
    "monitoring.dashboard.enabled",
    "networkPolicy.enabled",
];

#[test]
fn every_value_has_a_comment_and_a_place_in_the_schema() {
    let text = std::fs::read_to_string(format!("{}/values.yaml", chart())).expect("values");
    let schema =
        std::fs::read_to_string(format!("{}/values.schema.json", chart())).expect("schema");
    let schema: Value = serde_json::from_str(&schema).expect("JSON");
    let mut above: Vec<&str> = Vec::new();
    let mut before = "";
    let mut seen = 0;
    for line in text.lines() {
        let key = line.trim_start().split_once(':').map(|(key, _)| key);
        let is_key = |key: &&str| key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        let Some(key) = key.filter(is_key) else {
            before = line;
            continue;
        };
        let depth = (line.len() - line.trim_start().len()) / 2;
        above.truncate(depth);
        above.push(key);
        let path = above.join(".");
        // Where pods run is told once for its three keys; resources and labels are Kubernetes' own.
        let is_ours = !path.starts_with("resources.") && !path.contains("labels.");
        if is_ours {
            seen += 1;
            let told = before.trim_start().starts_with('#')
                || TOLD_TOGETHER.contains(&path.as_str())
                || ["tolerations", "affinity", "image", "sidecar.image"].contains(&path.as_str());
            assert!(told, "{path} has no comment");
            let place = above.iter().try_fold(&schema, |place, key| {
                let place = match place["$ref"].as_str() {
                    Some(name) => schema.pointer(name.trim_start_matches('#'))?,
                    None => place,
                };
                place["properties"].get(key)
            });
            assert!(place.is_some(), "{path} has no place in the schema");
        }
        before = line;
    }
    assert!(seen > 70, "{seen} keys were looked at");
}

#[test]
fn values_of_an_older_release_turn_nothing_on_and_remove_nothing() {
    let helm = Helm::offline();
    // What `--reuse-values` leaves of a release that did not know these keys yet.
    let older = "preflight=null,crds.keep=null,monitoring.serviceMonitor=null";
    let text = helm
        .run(&["template", &chart(), "--set", older])
        .expect_success()
        .stdout;
    assert!(!text.contains("picket-preflight"), "{text}");
    assert!(!text.contains("picket-crds-removal"), "{text}");
    let removal = helm
        .run(&["template", &chart(), "--set", "crds.keep=false"])
        .expect_success()
        .stdout;
    assert!(removal.contains("picket-crds-removal"));
}
