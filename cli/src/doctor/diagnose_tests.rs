use picket_operator::certificates::{Bundle, ServerNames};
use serde_json::json;

use super::*;

const NOW: i64 = 1_800_000_000;

fn base64(text: &str) -> String {
    STANDARD.encode(text)
}

fn bundle() -> Bundle {
    let names = ServerNames::new(["picket-webhook.picket-system.svc".to_owned()]);
    let now = UNIX_EPOCH + Duration::from_secs(NOW.unsigned_abs());
    Bundle::generate(&names, now).expect("bundle")
}

fn entry(trust: &str) -> Value {
    json!({
        "name": "ignore.picket.dev",
        "clientConfig": {"caBundle": base64(trust)},
        "namespaceSelector": {"matchExpressions": []},
        "rules": [{"resources": ["pods"]}],
    })
}

/// An installation in which nothing is wrong.
fn sound() -> Facts {
    let bundle = bundle();
    let data: serde_json::Map<String, Value> = bundle
        .to_secret()
        .into_iter()
        .map(|(key, value)| (key, json!(value)))
        .collect();
    Facts {
        namespace: "picket-system".to_owned(),
        definitions: definitions(),
        deployment: Some(json!({
            "spec": {"replicas": 2, "template": {"spec": {"containers": [{
                "ports": [{"containerPort": 8443}]}]}}},
            "status": {"readyReplicas": 2},
        })),
        configurations: Some(vec![
            json!({"metadata": {"name": CONFIGURATION}, "webhooks": [entry(&bundle.trust())]}),
        ]),
        secret: Some(json!({"data": data})),
        policies: Some(vec![json!({
            "metadata": {"namespace": "shop", "name": "all", "generation": 3},
            "spec": {"computeType": "Any"},
            "status": {"conditions": [
                {"type": "Accepted", "status": "True", "observedGeneration": 3}]},
        })]),
        pods: Some(Vec::new()),
        trials: [(
            "shop".to_owned(),
            Ok(json!({"metadata": {
            "annotations": {"picket.dev/status": "{}"}}})),
        )]
        .into(),
        now: NOW,
        ..Facts::default()
    }
}

fn faults(facts: &Facts) -> Vec<Fault> {
    diagnose(facts)
        .iter()
        .map(|finding| finding.fault)
        .collect()
}

#[test]
fn an_installation_without_fault_has_no_findings() {
    assert_eq!(diagnose(&sound()), []);
}

type Change = fn(&mut Facts);

#[test]
fn each_fault_is_told_from_the_others() {
    fn configuration(facts: &mut Facts) -> &mut Value {
        &mut facts.configurations.as_mut().unwrap()[0]
    }
    fn policy(facts: &mut Facts) -> &mut Value {
        &mut facts.policies.as_mut().unwrap()[0]
    }
    fn deployment(facts: &mut Facts) -> &mut Value {
        facts.deployment.as_mut().unwrap()
    }
    let cases: &[(Fault, Change)] = &[
        (Fault::CrdMissing, |facts| {
            *facts.definitions.values_mut().next().unwrap() = Value::Null;
        }),
        (Fault::CrdOutdated, |facts| {
            let definition = facts.definitions.values_mut().next().unwrap();
            definition["spec"]["versions"][0]["schema"] = json!({});
        }),
        (Fault::OperatorMissing, |facts| {
            *deployment(facts) = Value::Null
        }),
        (Fault::OperatorNotReady, |facts| {
            deployment(facts)["status"] = json!({});
        }),
        (Fault::OperatorDegraded, |facts| {
            deployment(facts)["status"]["readyReplicas"] = json!(1);
        }),
        (Fault::PortReserved, |facts| {
            let containers = &mut deployment(facts)["spec"]["template"]["spec"]["containers"];
            containers[0]["ports"][0]["containerPort"] = json!(10250);
        }),
        (Fault::ImageUnpullable, |facts| {
            facts.pods = Some(vec![json!({
                "metadata": {"namespace": "shop", "name": "web-1"},
                "status": {"initContainerStatuses": [{
                    "name": "picket-setup", "image": "r.example/picket-sidecar:1",
                    "state": {"waiting": {"reason": "ImagePullBackOff"}}}]}})]);
        }),
        (Fault::NotScheduled, |facts| {
            facts.operator_pods = vec![json!({
                "metadata": {"namespace": "picket-system", "name": "picket-operator-1", "labels": {
                    "app.kubernetes.io/name": "picket",
                    "app.kubernetes.io/component": "operator"}},
                "status": {"conditions": [{
                    "type": "PodScheduled", "status": "False", "message": "0/0 nodes"}]}})];
        }),
        (Fault::WebhookMissing, |facts| {
            facts.configurations = Some(Vec::new())
        }),
        (Fault::InjectionDisabled, |facts| {
            facts.trials.clear();
            let entry = &mut configuration(facts)["webhooks"][0];
            entry["namespaceSelector"]["matchExpressions"] =
                json!([{"key": "kubernetes.io/metadata.name", "operator": "DoesNotExist"}]);
        }),
        (Fault::WebhookSortsAfter, |facts| {
            facts.configurations.as_mut().unwrap().push(json!({
                "metadata": {"name": "zzz-mesh"},
                "webhooks": [{"rules": [{"resources": ["pods"]}]}]}));
        }),
        (Fault::CaBundleMissing, |facts| {
            configuration(facts)["webhooks"][0]["clientConfig"] = json!({});
        }),
        (Fault::CaBundleStale, |facts| {
            let other = bundle().trust();
            configuration(facts)["webhooks"][0] = entry(&other);
        }),
        (Fault::CertificateUnusable, |facts| {
            facts.secret = Some(Value::Null)
        }),
        (Fault::CertificateUnusable, |facts| {
            facts.secret.as_mut().unwrap()["data"]["tls.crt"] = json!("");
        }),
        (Fault::CertificateExpired, |facts| facts.now += 400 * 86_400),
        (Fault::WebhookUnreachable, |facts| {
            facts.service = Some("dial tcp 10.0.1.7:8443: i/o timeout".to_owned());
        }),
        (Fault::WebhookUnreachable, |facts| {
            let said = "Internal error occurred: failed calling webhook \"enforce.picket.dev\": context deadline exceeded";
            facts.trials.insert("shop".to_owned(), Err(said.to_owned()));
        }),
        (Fault::WebhookUntrusted, |facts| {
            let said = "Internal error occurred: failed calling webhook \"enforce.picket.dev\": tls: failed to verify certificate: x509: certificate signed by unknown authority";
            facts.trials.insert("shop".to_owned(), Err(said.to_owned()));
        }),
        (Fault::NoPolicy, |facts| facts.policies = Some(Vec::new())),
        (Fault::PolicyNotAccepted, |facts| {
            let condition = &mut policy(facts)["status"]["conditions"][0];
            condition["status"] = json!("False");
            condition["reason"] = json!("Invalid");
        }),
        (Fault::PolicyNotAssessed, |facts| {
            policy(facts)["metadata"]["generation"] = json!(4);
        }),
        (Fault::PolicyNotAssessed, |facts| {
            policy(facts)["status"] = json!({})
        }),
        (Fault::NoFargatePods, |facts| {
            policy(facts)["spec"] = json!({"computeType": "Fargate"});
        }),
        (Fault::PodNotInjected, |facts| {
            facts
                .trials
                .insert("shop".to_owned(), Ok(json!({"metadata": {}})));
        }),
        (Fault::NotAllowed, |facts| {
            facts.refused.push("secrets is forbidden".to_owned());
        }),
    ];
    for (fault, change) in cases {
        let mut facts = sound();
        change(&mut facts);
        assert_eq!(faults(&facts), [*fault]);
        assert!(!fault.remedy().is_empty());
    }
}

#[test]
fn what_may_not_be_asked_is_not_called_wrong() {
    let facts = Facts {
        namespace: "picket-system".to_owned(),
        refused: vec!["forbidden".to_owned()],
        ..Facts::default()
    };
    assert_eq!(faults(&facts), [Fault::NotAllowed]);
}

#[test]
fn a_pod_that_was_refused_for_another_reason_is_no_fault_of_ours() {
    let mut facts = sound();
    let said = "pods \"x\" is forbidden: exceeded quota: small";
    facts.trials.insert("shop".to_owned(), Err(said.to_owned()));
    assert_eq!(diagnose(&facts), []);
}
