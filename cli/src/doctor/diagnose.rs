//! From what the cluster says to what is wrong with it. No I/O.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::ByteString;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceValidation;
use picket_operator::certificates::Given;
use serde_json::Value;

use super::facts::{CONFIGURATION, Facts, secret_name};
use super::fault::{Fault, Finding};

/// Our definitions by name.
pub(crate) fn definitions() -> BTreeMap<String, Value> {
    let manifests = picket_crds::manifests().into_iter();
    manifests
        .filter_map(|(_, yaml)| serde_saphyr::from_str::<Value>(&yaml).ok())
        .filter_map(|definition| {
            let name = definition["metadata"]["name"].as_str()?.to_owned();
            Some((name, definition))
        })
        .collect()
}

/// Everything that is wrong, faults first.
pub(crate) fn diagnose(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    crds(facts, &mut findings);
    operator(facts, &mut findings);
    webhook(facts, &mut findings);
    certificate(facts, &mut findings);
    policies(facts, &mut findings);
    reach(facts, &mut findings);
    for question in &facts.refused {
        findings.push(Finding::new(Fault::NotAllowed, "you", question));
    }
    findings.sort();
    findings.dedup();
    findings
}

fn crds(facts: &Facts, findings: &mut Vec<Finding>) {
    for (name, ours) in definitions() {
        let Some(theirs) = facts.definitions.get(&name) else {
            continue; // may not be asked for
        };
        let subject = format!("CustomResourceDefinition {name}");
        if theirs.is_null() {
            let message = "the cluster does not know it";
            findings.push(Finding::new(Fault::CrdMissing, subject, message));
            continue;
        }
        if schemas(theirs) != schemas(&ours) {
            let message = "its schema is not that of this version";
            findings.push(Finding::new(Fault::CrdOutdated, subject, message));
        }
    }
}

/// The schema of each version of a definition, as the API server understands it: written out,
/// 0 and 0.0 would differ.
fn schemas(definition: &Value) -> Vec<(String, Option<CustomResourceValidation>)> {
    let versions = definition["spec"]["versions"].as_array();
    let versions = versions.into_iter().flatten();
    versions
        .map(|version| {
            let schema = serde_json::from_value(version["schema"].clone()).ok();
            (text(&version["name"]), schema)
        })
        .collect()
}

fn operator(facts: &Facts, findings: &mut Vec<Finding>) {
    let subject = format!("Deployment {}/picket-operator", facts.namespace);
    match &facts.deployment {
        Some(Value::Null) => {
            let message = "it does not exist";
            findings.push(Finding::new(Fault::OperatorMissing, subject, message));
        }
        Some(deployment) => {
            let wanted = deployment["spec"]["replicas"].as_i64().unwrap_or(1);
            let ready = deployment["status"]["readyReplicas"].as_i64().unwrap_or(0);
            let message = format!("{ready} of {wanted} replicas are ready");
            if ready == 0 {
                findings.push(Finding::new(Fault::OperatorNotReady, subject, message));
            } else if ready < wanted {
                findings.push(Finding::new(Fault::OperatorDegraded, subject, message));
            }
            let containers = &deployment["spec"]["template"]["spec"]["containers"];
            let ports = containers[0]["ports"].as_array().into_iter().flatten();
            if ports.clone().any(|port| port["containerPort"] == 10_250) {
                let subject = format!("Deployment {}/picket-operator", facts.namespace);
                let message = "a port of it is 10250";
                findings.push(Finding::new(Fault::PortReserved, subject, message));
            }
        }
        None => {}
    }
    let of_cluster = facts.pods.iter().flatten();
    for pod in facts.operator_pods.iter().chain(of_cluster) {
        pod_faults(pod, findings);
    }
}

/// What keeps a pod's containers of ours from starting.
fn pod_faults(pod: &Value, findings: &mut Vec<Finding>) {
    let subject = format!(
        "Pod {}/{}",
        text(&pod["metadata"]["namespace"]),
        text(&pod["metadata"]["name"])
    );
    let is_operator = pod["metadata"]["labels"]["app.kubernetes.io/component"] == "operator"
        && pod["metadata"]["labels"]["app.kubernetes.io/name"] == "picket";
    for list in ["initContainerStatuses", "containerStatuses"] {
        for status in pod["status"][list].as_array().into_iter().flatten() {
            let waiting = &status["state"]["waiting"];
            let reason = text(&waiting["reason"]);
            let ours = is_operator || text(&status["name"]).starts_with("picket-");
            let is_pull = ["ErrImagePull", "ImagePullBackOff", "InvalidImageName"];
            if ours && is_pull.contains(&&*reason) {
                let message = format!(
                    "{}: {reason}: {}",
                    text(&status["image"]),
                    text(&waiting["message"])
                );
                findings.push(Finding::new(
                    Fault::ImageUnpullable,
                    subject.clone(),
                    message,
                ));
            }
        }
    }
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    for condition in conditions {
        let unscheduled = condition["type"] == "PodScheduled" && condition["status"] == "False";
        if is_operator && unscheduled {
            let message = text(&condition["message"]);
            findings.push(Finding::new(Fault::NotScheduled, subject.clone(), message));
        }
    }
}

fn configuration(facts: &Facts) -> Option<&Value> {
    let all = facts.configurations.as_ref()?;
    all.iter()
        .find(|one| one["metadata"]["name"] == CONFIGURATION)
}

fn webhook(facts: &Facts, findings: &mut Vec<Finding>) {
    let Some(all) = &facts.configurations else {
        return;
    };
    let subject = format!("MutatingWebhookConfiguration {CONFIGURATION}");
    let Some(ours) = configuration(facts) else {
        let message = "it does not exist: no pod is injected";
        findings.push(Finding::new(Fault::WebhookMissing, subject, message));
        return;
    };
    let entries = || ours["webhooks"].as_array().into_iter().flatten();
    let off = |entry: &Value| {
        let expressions = entry["namespaceSelector"]["matchExpressions"].as_array();
        expressions.into_iter().flatten().any(|expression| {
            expression["key"] == "kubernetes.io/metadata.name"
                && expression["operator"] == "DoesNotExist"
        })
    };
    if entries().any(off) {
        let message = "no pod is sent to the webhook (injection.enabled: false)";
        findings.push(Finding::new(
            Fault::InjectionDisabled,
            subject.clone(),
            message,
        ));
    }
    if entries().any(|entry| {
        entry["clientConfig"]["caBundle"]
            .as_str()
            .is_none_or(str::is_empty)
    }) {
        let message = "an entry has no caBundle: API servers cannot trust the webhook";
        findings.push(Finding::new(Fault::CaBundleMissing, subject, message));
    }
    for other in all {
        let name = text(&other["metadata"]["name"]);
        let rules = other["webhooks"].as_array().into_iter().flatten();
        let mut rules = rules.flat_map(|entry| entry["rules"].as_array().into_iter().flatten());
        let on_pods = rules.any(|rule| {
            let resources = rule["resources"].as_array().into_iter().flatten();
            let mut resources = resources.filter_map(Value::as_str);
            resources.any(|resource| matches!(resource, "pods" | "*" | "*/*" | "pods/*"))
        });
        if on_pods && name.as_str() > CONFIGURATION {
            let subject = format!("MutatingWebhookConfiguration {name}");
            let message = format!("it is asked about pods after {CONFIGURATION}");
            findings.push(Finding::new(Fault::WebhookSortsAfter, subject, message));
        }
    }
}

fn certificate(facts: &Facts, findings: &mut Vec<Finding>) {
    let (Some(secret), Some(deployment)) = (&facts.secret, &facts.deployment) else {
        return;
    };
    if deployment.is_null() {
        return;
    }
    let name = secret_name(Some(deployment));
    let subject = format!("Secret {}/{name}", facts.namespace);
    if secret.is_null() {
        let message = "it does not exist";
        findings.push(Finding::new(Fault::CertificateUnusable, subject, message));
        return;
    }
    let data = secret["data"].as_object().into_iter().flatten();
    let data = data.filter_map(|(key, value)| {
        let bytes = STANDARD.decode(value.as_str()?).ok()?;
        Some((key.clone(), ByteString(bytes)))
    });
    let given = match Given::from_secret(&data.collect()) {
        Ok(given) => given,
        Err(error) => {
            let fault = Fault::CertificateUnusable;
            findings.push(Finding::new(fault, subject, error.to_string()));
            return;
        }
    };
    let now = UNIX_EPOCH + Duration::from_secs(facts.now.unsigned_abs());
    if given.expires() <= now {
        let message = "the certificate in it has expired";
        findings.push(Finding::new(Fault::CertificateExpired, subject, message));
    }
    let Some(ours) = configuration(facts) else {
        return;
    };
    for entry in ours["webhooks"].as_array().into_iter().flatten() {
        let bundle = text(&entry["clientConfig"]["caBundle"]);
        let bundle = STANDARD.decode(&bundle).unwrap_or_default();
        let bundle = String::from_utf8_lossy(&bundle);
        if !bundle.is_empty() && !bundle.contains(given.trust().trim()) {
            let subject = format!("MutatingWebhookConfiguration {CONFIGURATION}");
            let message = format!(
                "caBundle of {} lacks the ca.crt of Secret {name}",
                text(&entry["name"])
            );
            findings.push(Finding::new(Fault::CaBundleStale, subject, message));
        }
    }
}

fn policies(facts: &Facts, findings: &mut Vec<Finding>) {
    let Some(policies) = &facts.policies else {
        return;
    };
    if policies.is_empty() && facts.definitions.values().all(|one| !one.is_null()) {
        let message = "there is neither a ProtectionPolicy nor a ClusterProtectionPolicy";
        findings.push(Finding::new(Fault::NoPolicy, "the cluster", message));
    }
    for policy in policies {
        let namespace = text(&policy["metadata"]["namespace"]);
        let name = text(&policy["metadata"]["name"]);
        let subject = match namespace.is_empty() {
            true => format!("ClusterProtectionPolicy {name}"),
            false => format!("ProtectionPolicy {namespace}/{name}"),
        };
        let conditions = policy["status"]["conditions"]
            .as_array()
            .into_iter()
            .flatten();
        let mut accepted = conditions.filter(|condition| condition["type"] == "Accepted");
        match accepted.next() {
            Some(condition)
                if condition["observedGeneration"] != policy["metadata"]["generation"] =>
            {
                let message = "its status is about an older version of it";
                findings.push(Finding::new(Fault::PolicyNotAssessed, subject, message));
            }
            Some(condition) if condition["status"] == "False" => {
                let message = format!(
                    "{}: {}",
                    text(&condition["reason"]),
                    text(&condition["message"])
                );
                if condition["reason"] != "Disabled" {
                    findings.push(Finding::new(Fault::PolicyNotAccepted, subject, message));
                }
            }
            Some(_) => {}
            None => {
                let message = "it has no status";
                findings.push(Finding::new(Fault::PolicyNotAssessed, subject, message));
            }
        }
    }
    let fargate = |policy: &&Value| policy["spec"]["computeType"] != "Any";
    let label = picket_crds::names::labels::FARGATE_PROFILE;
    if let (Some(policy), Some(pods)) = (policies.iter().find(fargate), &facts.pods)
        && pods
            .iter()
            .all(|pod| pod["metadata"]["labels"][label].is_null())
    {
        let subject = format!("policy {}", text(&policy["metadata"]["name"]));
        let message = "it selects pods on Fargate, and no pod of the cluster runs there";
        findings.push(Finding::new(Fault::NoFargatePods, subject, message));
    }
}

/// Whether API servers get answers.
fn reach(facts: &Facts, findings: &mut Vec<Finding>) {
    let service = format!("Service {}/picket-webhook", facts.namespace);
    if let Some(message) = &facts.service {
        findings.push(Finding::new(
            Fault::WebhookUnreachable,
            service.clone(),
            message,
        ));
    }
    let is_on = !findings.iter().any(|finding| {
        matches!(
            finding.fault,
            Fault::InjectionDisabled | Fault::WebhookMissing
        )
    });
    for (namespace, trial) in &facts.trials {
        match trial {
            Err(message)
                if message.contains("failed calling webhook") && message.contains("picket.dev") =>
            {
                let fault = match message.contains("x509") || message.contains("tls:") {
                    true => Fault::WebhookUntrusted,
                    false => Fault::WebhookUnreachable,
                };
                findings.push(Finding::new(fault, service.clone(), message));
            }
            Ok(pod) if is_on => {
                let status =
                    &pod["metadata"]["annotations"][picket_crds::names::annotations::STATUS];
                if status.is_null() {
                    let subject = format!("namespace {namespace}");
                    let message = "a pod that was created there for trial was not injected";
                    findings.push(Finding::new(Fault::PodNotInjected, subject, message));
                }
            }
            // Refused for another reason (a quota, another policy): nothing about us.
            Err(_) | Ok(_) => {}
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
#[path = "diagnose_tests.rs"]
mod tests;
