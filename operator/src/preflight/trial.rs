//! A pod that is created for trial, as a dry run: quota, Pod Security and whatever else judges pods
//! in the namespace say what they would say of a real one, and nothing is stored.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, PostParams};
use kube::core::Status;
use kube::{Api, Client};
use picket_crds::{LabelSelector, Operator, annotations};
use picket_webhook::Reason;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::time::timeout;

/// How long an API server may take for one trial, webhooks included.
const PATIENCE: Duration = Duration::from_secs(40);
/// The longest message that is kept of an API server, in bytes.
const LONGEST: usize = 600;

/// What a trial showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The injected pod would be taken.
    Admitted,
    /// The webhook would leave the pod alone.
    LeftAlone {
        /// Why, as [`Reason`] calls it.
        reason: String,
        /// Why, for people.
        message: String,
    },
    /// The namespace refuses the injected pod, and takes it as it is.
    InjectionRefused(String),
    /// The namespace refuses the pod with and without Picket.
    RefusedAnyway(String),
    /// The API server did not reach the webhook.
    Unreachable(String),
    /// The webhook that answered has not heard of the policy yet.
    NotKnownYet,
    /// It cannot be told.
    Untold(String),
}

impl Finding {
    /// Whether all is well.
    #[must_use]
    pub const fn is_good(&self) -> bool {
        matches!(self, Self::Admitted)
    }
}

/// Tries a pod for the policy of this key. `image` is what its container would run where the
/// namespace has no pod whose image could be taken instead.
pub(super) async fn attempt(
    client: &Client,
    namespace: &str,
    (key, selector): (&str, &LabelSelector),
    image: &str,
) -> Finding {
    let trial = async {
        let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
        // A policy about registries must judge the sidecar's, not that of an image that nobody
        // uses there.
        let used = used_image(&pods).await;
        let image = used.as_deref().unwrap_or(image);
        let answer = create(&pods, &pod(key, selector, image)).await;
        match read(answer) {
            Answer::Found(finding) => finding,
            Answer::Refused(words) => {
                let bare = pod(annotations::TRIAL_BARE, selector, image);
                match read(create(&pods, &bare).await) {
                    Answer::Refused(_) => Finding::RefusedAnyway(words),
                    Answer::Found(Finding::LeftAlone { .. }) => Finding::InjectionRefused(words),
                    Answer::Found(other) => other,
                }
            }
        }
    };
    let waited = timeout(PATIENCE, trial).await;
    waited.unwrap_or_else(|_| {
        Finding::Untold(format!(
            "the API server did not answer within {} s",
            PATIENCE.as_secs()
        ))
    })
}

async fn used_image(pods: &Api<Pod>) -> Option<String> {
    let some = pods.list(&ListParams::default().limit(1)).await.ok()?;
    let container = some.items.first()?.spec.as_ref()?.containers.first()?;
    container.image.clone()
}

async fn create(pods: &Api<Pod>, pod: &Value) -> Result<Pod, kube::Error> {
    let parameters = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let pod = serde_json::from_value(pod.clone()).map_err(kube::Error::SerdeError)?;
    pods.create(&parameters, &pod).await
}

/// What an API server said.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    /// It shows this.
    Found(Finding),
    /// Somebody refuses the pod, in these words.
    Refused(String),
}

/// What the webhook wrote on the pod.
#[derive(Deserialize)]
struct Outcome {
    reason: String,
    message: String,
}

fn read(answer: Result<Pod, kube::Error>) -> Answer {
    Answer::Found(match answer {
        Ok(pod) => outcome(&pod),
        Err(kube::Error::Api(status)) => match refusal(&status) {
            Ok(finding) => finding,
            Err(words) => return Answer::Refused(words),
        },
        Err(error) => Finding::Untold(shortened(&error.to_string())),
    })
}

fn outcome(pod: &Pod) -> Finding {
    let written = pod.metadata.annotations.as_ref();
    let written = written.and_then(|all| all.get(annotations::TRIAL_OUTCOME));
    let Some(text) = written else {
        return Finding::Unreachable("a pod that was tried came back as it was".to_owned());
    };
    let Ok(Outcome { reason, message }) = serde_json::from_str(text) else {
        return Finding::Untold("another version of the webhook answered".to_owned());
    };
    let is = |one: Reason| one.word() == reason;
    if is(Reason::Injected) || is(Reason::Current) || is(Reason::PartlyInjected) {
        Finding::Admitted
    } else if is(Reason::NotSelected) {
        Finding::NotKnownYet
    } else {
        Finding::LeftAlone { reason, message }
    }
}

/// What a refusal shows; the words when it is about the pod.
fn refusal(status: &Status) -> Result<Finding, String> {
    let words = shortened(&status.message);
    let says = |part: &str| status.message.contains(part);
    if says("failed calling webhook \"ignore.picket.dev\"")
        || says("failed calling webhook \"enforce.picket.dev\"")
    {
        return Ok(Finding::Unreachable(words));
    }
    let is_about_the_question = matches!(status.code, 401 | 404 | 408 | 409 | 429 | 500..)
        || says("cannot create resource \"pods\"")
        || says("does not support dry run")
        || says("is being terminated");
    match is_about_the_question {
        true => Ok(Finding::Untold(words)),
        false => Err(words),
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// A pod that the `restricted` standard takes, with labels that the selector wants.
fn pod(trial: &str, selector: &LabelSelector, image: &str) -> Value {
    let amounts = json!({"cpu": "10m", "memory": "16Mi", "ephemeral-storage": "16Mi"});
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": "picket-trial-",
            "labels": labels(selector),
            "annotations": {annotations::TRIAL: trial},
        },
        "spec": {
            "automountServiceAccountToken": false,
            "securityContext": {
                "runAsNonRoot": true,
                "runAsUser": 1000,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [{
                "name": "trial",
                "image": image,
                "command": ["/bin/true"],
                "resources": {"requests": amounts, "limits": amounts},
                "securityContext": {
                    "allowPrivilegeEscalation": false,
                    "capabilities": {"drop": ["ALL"]},
                },
            }],
        },
    })
}

/// Labels that a selector selects, as far as there are any.
fn labels(selector: &LabelSelector) -> Map<String, Value> {
    let mut labels = Map::new();
    for requirement in &selector.match_expressions {
        let value = match requirement.operator {
            Operator::In => requirement.values.first().map_or("", String::as_str),
            Operator::Exists => "picket-trial",
            Operator::NotIn | Operator::DoesNotExist => continue,
        };
        labels.insert(requirement.key.clone(), json!(value));
    }
    for (key, value) in &selector.match_labels {
        labels.insert(key.clone(), json!(value));
    }
    labels
}

#[cfg(test)]
mod tests {
    use picket_crds::Requirement;

    use super::*;

    fn answered(annotations: &Value) -> Result<Pod, kube::Error> {
        let pod = json!({"metadata": {"annotations": annotations}});
        Ok(serde_json::from_value(pod).expect("pod"))
    }

    fn refused(code: u16, message: &str) -> Result<Pod, kube::Error> {
        let status = Status::failure(message, "Forbidden").with_code(code);
        Err(kube::Error::Api(Box::new(status)))
    }

    #[test]
    fn what_came_back_is_read_by_table() {
        let outcome = |reason: &str| {
            let text = json!({"reason": reason, "message": "words"}).to_string();
            answered(&json!({"picket.dev/trial-outcome": text}))
        };
        let found = |finding| Answer::Found(finding);
        let left = |reason: &str| Finding::LeftAlone {
            reason: reason.to_owned(),
            message: "words".to_owned(),
        };
        for (answer, expected) in [
            (outcome("Injected"), found(Finding::Admitted)),
            (outcome("Current"), found(Finding::Admitted)),
            (outcome("PartlyInjected"), found(Finding::Admitted)),
            (outcome("NotSelected"), found(Finding::NotKnownYet)),
            (outcome("QuotaWouldRefuse"), found(left("QuotaWouldRefuse"))),
            (outcome("TrialLeftBare"), found(left("TrialLeftBare"))),
        ] {
            assert_eq!(read(answer), expected);
        }
        for annotations in [json!({}), json!({"picket.dev/trial": "shop/all"})] {
            let Answer::Found(Finding::Unreachable(_)) = read(answered(&annotations)) else {
                panic!("{annotations}: nobody wrote on it");
            };
        }
    }

    #[test]
    fn refusals_are_told_apart_by_table() {
        let quota = "pods \"picket-trial-x\" is forbidden: exceeded quota: all, requested: \
                     limits.memory=80Mi, used: limits.memory=0, limited: limits.memory=32Mi";
        let standard = "pods \"picket-trial-x\" is forbidden: violates PodSecurity \
                        \"restricted:latest\": runAsNonRoot != true";
        let other = "admission webhook \"validate.kyverno.svc-fail\" denied the request: no";
        for words in [quota, standard, other] {
            assert_eq!(read(refused(403, words)), Answer::Refused(words.to_owned()));
        }
        let down = "Internal error occurred: failed calling webhook \"enforce.picket.dev\": \
                    failed to call webhook: Post \"https://picket-webhook\": context deadline \
                    exceeded";
        let unreachable = Finding::Unreachable(down.to_owned());
        assert_eq!(read(refused(500, down)), Answer::Found(unreachable));
        for (code, words) in [
            (
                403,
                "pods is forbidden: User \"x\" cannot create resource \"pods\" in API group \"\"",
            ),
            (400, "admission webhook \"a.b.c\" does not support dry run"),
            (404, "namespaces \"shop\" not found"),
            (
                403,
                "pods \"x\" is forbidden: unable to create new content in namespace shop because \
                 it is being terminated",
            ),
            (429, "too many requests"),
            (500, "etcdserver: request timed out"),
        ] {
            let untold = Finding::Untold(words.to_owned());
            assert_eq!(read(refused(code, words)), Answer::Found(untold));
        }
    }

    #[test]
    fn the_pod_has_labels_that_its_selector_selects() {
        let requirement = |key: &str, operator, values: &[&str]| Requirement {
            key: key.to_owned(),
            operator,
            values: values.iter().map(|value| (*value).to_owned()).collect(),
        };
        let selector = LabelSelector {
            match_labels: [("app".to_owned(), "web".to_owned())].into(),
            match_expressions: vec![
                requirement("tier", Operator::In, &["front", "back"]),
                requirement("team", Operator::Exists, &[]),
                requirement("legacy", Operator::DoesNotExist, &[]),
                requirement("stage", Operator::NotIn, &["test"]),
            ],
        };
        let labels = labels(&selector);
        assert!(selector.matches(|key| labels.get(key).and_then(Value::as_str)));
    }
}
