//! Certificates that somebody else keeps: the operator serves them, publishes their authority,
//! and has no right to write the Secret.
#![allow(missing_docs)]

use std::time::Duration;

use picket_tests::kube::objects::{assert_injected, pod};
use picket_tests::kube::{Authority, ControlPlane, Operator, Options, eventually};
use serde_json::Value;

const SECRET: &str = "picket-webhook-certificate";
const NAMES: [&str; 2] = ["127.0.0.1", "picket-webhook.picket-system.svc"];
const MONTH: Duration = Duration::from_secs(30 * 24 * 60 * 60);

fn install(mode: &str, authority: &Authority) -> Operator {
    let options = Options {
        replicas: 2,
        arguments: vec![
            format!("--certificates={mode}"),
            // As soon as this API server knows of another caBundle.
            "--certificate-grace-seconds=3".to_owned(),
        ],
        given_certificate: Some(authority.secret("", SECRET, &NAMES, MONTH)),
        ..Options::default()
    };
    Operator::install(ControlPlane::shared(), &options)
}

fn secret(operator: &Operator) -> Value {
    let secret = operator
        .kubectl()
        .get("secret", &operator.namespace, SECRET);
    secret.expect("the Secret")
}

fn expiry(operator: &Operator, replica: usize) -> Option<String> {
    let metrics = operator.replicas[replica].get("/metrics")?.body;
    let name = "picket_operator_certificate_expiry_timestamp_seconds ";
    let line = metrics.lines().find(|line| line.starts_with(name))?;
    Some(line[name.len()..].to_owned())
}

#[test]
fn another_authority_takes_over_without_a_refused_pod() {
    let (old, new) = (Authority::new(), Authority::new());
    let operator = install("External", &old);
    let kubectl = operator.kubectl();
    assert_eq!(
        operator.trust().expect("published"),
        old.certificate().as_bytes()
    );
    let namespace = operator.protected("external", &[("picket.dev/enforce", "true")]);
    assert_injected(&kubectl.apply(&pod(&namespace, "before"), false));

    let mut replaced = new.secret(&operator.namespace, SECRET, &NAMES, 2 * MONTH);
    replaced["metadata"]["resourceVersion"] =
        secret(&operator)["metadata"]["resourceVersion"].clone();
    kubectl
        .run(&["replace", "-f", "-"], &replaced.to_string())
        .expect_success();
    let mut number = 0;
    eventually("every replica serves the new certificate", || {
        // In an enforced namespace a call that fails refuses the pod.
        number += 1;
        let name = format!("during-{number}");
        assert_injected(&kubectl.apply(&pod(&namespace, &name), false));
        let trust = new.certificate().as_bytes();
        let mut replicas = operator.replicas.iter();
        replicas
            .all(|replica| replica.post("/mutate", "{}", trust).is_some())
            .then_some(())
    });
    // The authority before is still trusted: another replica may serve its certificate yet.
    let trust = String::from_utf8(operator.trust().expect("published")).expect("PEM");
    assert!(trust.starts_with(new.certificate()), "{trust}");
    assert!(trust.contains(old.certificate().trim()), "{trust}");
    // What was given is as it was given.
    let after = secret(&operator);
    assert_eq!(after["data"], replaced["data"]);
    assert!(after["metadata"]["ownerReferences"].is_null(), "{after:#}");
}

#[test]
fn a_certificate_that_cert_manager_renews_is_served_at_once() {
    let authority = Authority::new();
    let operator = install("CertManager", &authority);
    let before = expiry(&operator, 0).expect("an expiry");
    let renewed = authority.secret(&operator.namespace, SECRET, &NAMES, 2 * MONTH);
    operator.kubectl().apply(&renewed, false);
    eventually("both replicas serve the new one", || {
        let now = (expiry(&operator, 0)?, expiry(&operator, 1)?);
        (now.0 != before && now.1 != before).then_some(())
    });
    assert_eq!(
        operator.trust().expect("published"),
        authority.certificate().as_bytes()
    );
    // One that is broken changes nothing.
    let mut broken = renewed.clone();
    broken["data"]["tls.crt"] = broken["data"]["ca.crt"].clone();
    operator.kubectl().apply(&broken, false);
    let namespace = operator.protected("cert-manager", &[]);
    assert_injected(&operator.kubectl().apply(&pod(&namespace, "web"), false));
}
