//! What the cluster says about an installation: questions to the API server, each of which may be
//! forbidden without harm to the others.

use std::collections::BTreeMap;

use hyper::http;
use kube::Client;
use serde_json::{Value, json};

/// Answers of the API server as they came.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Facts {
    pub(crate) namespace: String,
    /// CustomResourceDefinitions by name; null where there is none.
    pub(crate) definitions: BTreeMap<String, Value>,
    pub(crate) deployment: Option<Value>,
    pub(crate) operator_pods: Vec<Value>,
    pub(crate) configurations: Option<Vec<Value>>,
    /// The Secret of the certificate; `None` where it may not be read.
    pub(crate) secret: Option<Value>,
    /// Namespaced and cluster policies.
    pub(crate) policies: Option<Vec<Value>>,
    /// Pods of the whole cluster that may be of interest: labels, phase and our containers.
    pub(crate) pods: Option<Vec<Value>>,
    /// What became of a pod that was created for trial, by namespace: the pod, or what the API
    /// server said.
    pub(crate) trials: BTreeMap<String, Result<Value, String>>,
    /// What the API server says of the webhook's Service, asked through it; `None` when it
    /// answers.
    pub(crate) service: Option<String>,
    /// Questions that were refused.
    pub(crate) refused: Vec<String>,
    /// The wall clock, seconds since the epoch.
    pub(crate) now: i64,
}

/// Name of the webhook configuration.
pub(crate) const CONFIGURATION: &str = "zz-picket";

const DEPLOYMENT: &str = "picket-operator";
const SERVICE: &str = "picket-webhook";

struct Cluster<'a> {
    client: &'a Client,
    refused: Vec<String>,
}

impl Cluster<'_> {
    /// `None` when it is not there, or may not be asked for.
    async fn get(&mut self, path: &str) -> Result<Option<Value>, kube::Error> {
        match self.ask("GET", path, &Value::Null).await {
            Ok(value) => Ok(Some(value)),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            Err(kube::Error::Api(status)) if status.code == 403 || status.code == 401 => {
                self.refused.push(status.message);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    async fn list(&mut self, path: &str) -> Result<Option<Vec<Value>>, kube::Error> {
        let list = self.get(path).await?;
        Ok(list.and_then(|list| list["items"].as_array().cloned()))
    }

    async fn ask(&self, method: &str, path: &str, body: &Value) -> Result<Value, kube::Error> {
        let bytes = match body {
            Value::Null => Vec::new(),
            body => body.to_string().into_bytes(),
        };
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("Content-Type", "application/json")
            .body(bytes)
            .map_err(kube::Error::HttpError)?;
        let text = self.client.request_text(request).await?;
        Ok(serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }
}

/// Asks everything. `probe` names namespaces in which a pod is created for trial (dry run).
pub(crate) async fn gather(
    client: &Client,
    namespace: &str,
    probe: &[String],
    now: i64,
) -> Result<Facts, kube::Error> {
    let mut cluster = Cluster {
        client,
        refused: Vec::new(),
    };
    let mut facts = Facts {
        namespace: namespace.to_owned(),
        now,
        ..Facts::default()
    };
    for name in super::diagnose::definitions().keys() {
        let path = format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}");
        let refused = cluster.refused.len();
        let found = cluster.get(&path).await?;
        if cluster.refused.len() == refused {
            let found = found.unwrap_or_default();
            facts.definitions.insert(name.clone(), found);
        }
    }
    let path = format!("/apis/apps/v1/namespaces/{namespace}/deployments/{DEPLOYMENT}");
    let refused = cluster.refused.len();
    let deployment = cluster.get(&path).await?;
    facts.deployment = match cluster.refused.len() == refused {
        true => Some(deployment.unwrap_or_default()),
        false => None,
    };
    let path = format!(
        "/api/v1/namespaces/{namespace}/pods?labelSelector=app.kubernetes.io%2Fcomponent%3Doperator"
    );
    facts.operator_pods = cluster.list(&path).await?.unwrap_or_default();
    let path = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
    facts.configurations = cluster.list(path).await?;
    let secret = secret_name(facts.deployment.as_ref());
    let path = format!("/api/v1/namespaces/{namespace}/secrets/{secret}");
    let refused = cluster.refused.len();
    let found = cluster.get(&path).await?;
    if cluster.refused.len() == refused {
        facts.secret = Some(found.unwrap_or_default());
    }
    let mut policies = None;
    for kind in ["protectionpolicies", "clusterprotectionpolicies"] {
        if let Some(found) = cluster
            .list(&format!("/apis/picket.dev/v1alpha1/{kind}"))
            .await?
        {
            policies.get_or_insert_with(Vec::new).extend(found);
        }
    }
    facts.policies = policies;
    facts.pods = cluster.list("/api/v1/pods?limit=1000").await?;
    let path = format!("/api/v1/namespaces/{namespace}/services/https:{SERVICE}:https/proxy/");
    if facts.deployment.as_ref().is_some_and(|one| !one.is_null()) {
        facts.service = match cluster.ask("GET", &path, &Value::Null).await {
            Ok(_) => None,
            Err(kube::Error::Api(status)) if status.code == 403 => {
                cluster.refused.push(status.message);
                None
            }
            // The webhook itself answers: it knows no such path. That there is no Service, or
            // nothing behind it, is the API server's own word.
            Err(kube::Error::Api(status))
                if status.code < 500 && !status.message.contains("not found") =>
            {
                None
            }
            Err(kube::Error::Api(status)) => Some(status.message),
            Err(error) => return Err(error),
        };
    }
    for name in trials(&facts, probe) {
        let labels = labels_for(&facts, &name);
        let path = format!("/api/v1/namespaces/{name}/pods?dryRun=All");
        let answer = cluster.ask("POST", &path, &trial_pod(&labels)).await;
        match answer {
            Ok(pod) => drop(facts.trials.insert(name, Ok(pod))),
            Err(kube::Error::Api(status))
                if status.code == 403 && status.message.contains("cannot create") =>
            {
                cluster.refused.push(status.message);
            }
            Err(kube::Error::Api(status)) => {
                facts.trials.insert(name, Err(status.message));
            }
            Err(error) => return Err(error),
        }
    }
    facts.refused = cluster.refused;
    Ok(facts)
}

/// The Secret that the control plane was told to use.
pub(crate) fn secret_name(deployment: Option<&Value>) -> String {
    let environment = deployment
        .and_then(|one| one["spec"]["template"]["spec"]["containers"][0]["env"].as_array());
    let named = environment.into_iter().flatten().find_map(|variable| {
        (variable["name"] == "PICKET_CERTIFICATE_SECRET")
            .then(|| variable["value"].as_str())
            .flatten()
    });
    named.unwrap_or("picket-webhook-certificate").to_owned()
}

/// Namespaces in which a pod is tried: those that were named, else those with a policy.
fn trials(facts: &Facts, named: &[String]) -> Vec<String> {
    if !named.is_empty() {
        return named.to_vec();
    }
    let policies = facts.policies.iter().flatten();
    let mut namespaces: Vec<String> = policies
        .filter_map(|policy| policy["metadata"]["namespace"].as_str())
        .map(str::to_owned)
        .collect();
    namespaces.sort_unstable();
    namespaces.dedup();
    namespaces.truncate(20);
    namespaces
}

/// Labels by which the first policy of a namespace selects, and Fargate's.
fn labels_for(facts: &Facts, namespace: &str) -> Value {
    let policies = facts.policies.iter().flatten();
    let mut of_namespace = policies.filter(|policy| policy["metadata"]["namespace"] == namespace);
    let selector = of_namespace
        .next()
        .map(|policy| policy["spec"]["podSelector"]["matchLabels"].clone());
    let mut labels = match selector {
        Some(labels @ Value::Object(_)) => labels,
        _ => json!({}),
    };
    labels[picket_crds::names::labels::FARGATE_PROFILE] = json!("picket-doctor");
    labels
}

/// A pod that the `restricted` standard takes.
fn trial_pod(labels: &Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "picket-doctor-", "labels": labels},
        "spec": {
            "securityContext": {
                "runAsNonRoot": true, "runAsUser": 64738,
                "seccompProfile": {"type": "RuntimeDefault"}
            },
            "containers": [{
                "name": "doctor",
                "image": "picket-doctor.invalid/never-pulled",
                "command": ["/bin/true"],
                "resources": {
                    "requests": {"cpu": "10m", "memory": "16Mi"},
                    "limits": {"cpu": "10m", "memory": "16Mi"}
                },
                "securityContext": {
                    "allowPrivilegeEscalation": false,
                    "capabilities": {"drop": ["ALL"]}
                }
            }]
        }
    })
}
