//! What fargate-scheduler says of pods that it will never run.

use k8s_openapi::api::core::v1::Event;
use kube::api::ListParams;
use kube::{Api, Client};

use super::facts::PodFacts;

/// Who says it.
const SCHEDULER: &str = "fargate-scheduler";
/// How its refusals begin.
const NOT_SUPPORTED: &str = "Pod not supported on Fargate";
/// Most events that are read about one pod.
const EVENTS: u32 = 50;

/// The refusal in a pod's own status, if there is one.
#[must_use]
pub fn refusal_in_status(pod: &PodFacts) -> Option<&str> {
    let words = pod.unschedulable.as_deref();
    words.filter(|words| words.contains(NOT_SUPPORTED))
}

/// The refusal in the events about a pod, which may be the only place where it is. What others
/// than the scheduler report is not believed.
///
/// # Errors
/// When events cannot be read.
pub async fn refusal_in_events(client: &Client, pod: &PodFacts) -> kube::Result<Option<String>> {
    let events: Api<Event> = Api::namespaced(client.clone(), &pod.namespace);
    let about = format!("involvedObject.uid={}", pod.uid);
    let parameters = ListParams::default().fields(&about).limit(EVENTS);
    let events = events.list(&parameters).await?;
    Ok(events.items.into_iter().find_map(refusal))
}

fn refusal(event: Event) -> Option<String> {
    let source = event.source.and_then(|source| source.component);
    let is_scheduler = [source, event.reporting_component]
        .iter()
        .flatten()
        .any(|name| name == SCHEDULER);
    let message = event.message.filter(|_| is_scheduler)?;
    message.contains(NOT_SUPPORTED).then_some(message)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn only_the_scheduler_refuses() {
        let says = |event: Value| {
            let mut event = event;
            event["metadata"] = json!({});
            event["involvedObject"] = json!({});
            refusal(serde_json::from_value(event).expect("an event"))
        };
        let words = "Pod not supported on Fargate: volumes not supported: data";
        let by_source = json!({"message": words, "source": {"component": "fargate-scheduler"}});
        assert_eq!(says(by_source).as_deref(), Some(words));
        let by_reporter = json!({"message": words, "reportingComponent": "fargate-scheduler"});
        assert_eq!(says(by_reporter).as_deref(), Some(words));
        let by_another = json!({"message": words, "source": {"component": "somebody"}});
        assert_eq!(says(by_another), None);
        let other = json!({"message": "Pod was placed", "reportingComponent": "fargate-scheduler"});
        assert_eq!(says(other), None);
    }
}
