//! Tells decisions of the webhook where people look: as Events on the workload that the pod
//! belongs to, with the words of [`picket_webhook::Reason`].
//!
//! The webhook hands over and goes on; what comes too fast is dropped and counted.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder as Publisher, Reporter};
use kube::{Api, Client, Resource, ResourceExt};
use picket_webhook::admission::{CommandRun, Decided, Recorder};
use picket_webhook::report::Note;
use picket_webhook::{Outcome, Reason};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::debug;

/// Who the events come from.
const CONTROLLER: &str = "picket.dev/admission";
/// How many decisions wait to be told.
const WAITING: usize = 256;
/// The same is told again about the same object after this time.
const AGAIN: Duration = Duration::from_secs(60);
/// How many objects are remembered for that.
const REMEMBERED: usize = 4096;
/// Events that may be written at once, and how many a second after that.
const BURST: f64 = 50.0;
const PER_SECOND: f64 = 10.0;
/// How long an API server may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest note that the API takes, in bytes.
const LONGEST: usize = 1000;

/// Something to tell about an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    object: ObjectReference,
    warning: bool,
    reason: &'static str,
    note: String,
    action: &'static str,
}

impl Told {
    /// Something that a controller did (`action`) about an object.
    #[must_use]
    pub fn about(
        object: ObjectReference,
        (warning, reason): (bool, &'static str),
        action: &'static str,
        note: String,
    ) -> Self {
        Self {
            object,
            warning,
            reason,
            note: shortened(note),
            action,
        }
    }

    /// What is worth an event in a decision: every pod that was meant to be protected, and every
    /// opt-out that somebody wants to know of. Nothing where nobody could be told.
    #[must_use]
    pub fn of(decided: &Decided) -> Vec<Self> {
        let Some(object) = object(decided) else {
            return Vec::new();
        };
        let report = &decided.report;
        if let Some(run) = &decided.command {
            return Self::untraced_command(decided, run, object)
                .into_iter()
                .collect();
        }
        let tell = |warning, reason, note: String| Self {
            object: object.clone(),
            warning,
            reason,
            note: shortened(note),
            action: "Admission",
        };
        let mut told = Vec::new();
        let pod = &decided.name;
        let reason = report.reason.word();
        match (report.outcome(), report.reason) {
            (Outcome::Failed, _) | (_, Reason::PartlyInjected) => {
                let refused = if decided.allowed { "" } else { "refused: " };
                told.push(tell(
                    true,
                    reason,
                    format!("{refused}pod {pod}: {}", report.summary()),
                ));
            }
            (_, Reason::BreakGlass) => {
                told.push(tell(
                    true,
                    reason,
                    format!("pod {pod}: {}", report.summary()),
                ));
            }
            (_, Reason::Injected | Reason::OptedOutAudited) => {
                told.push(tell(
                    false,
                    reason,
                    format!("pod {pod}: {}", report.summary()),
                ));
            }
            _ => {}
        }
        let worth_it = |note: &&Note| {
            matches!(
                note,
                Note::OptOutForbidden | Note::BreakGlassIgnored | Note::FargateSizeGrows
            )
        };
        told.extend(
            report
                .notes
                .iter()
                .filter(worth_it)
                .map(|note| tell(true, note.word(), format!("pod {pod}: {note}"))),
        );
        told
    }

    /// A command that somebody runs, untraced, in a pod that a policy is for.
    fn untraced_command(
        decided: &Decided,
        run: &CommandRun,
        object: ObjectReference,
    ) -> Option<Self> {
        let reason = decided.report.reason;
        let is_gap = matches!(
            reason,
            Reason::ExecExcluded
                | Reason::ExecUnsupported
                | Reason::ContainerNotTraced
                | Reason::PodNotInjected
                | Reason::Malformed
        );
        let container = match run.container.as_str() {
            "" => String::new(),
            name => format!(" in container {name}"),
        };
        let note = format!(
            "{} ran a command{container} (kubectl exec), which is not traced: {}",
            run.username,
            decided.report.summary()
        );
        is_gap.then(|| Self {
            object,
            warning: true,
            reason: EXEC_UNTRACED,
            note: shortened(note),
            action: "Admission",
        })
    }
}

/// What an event about a command that runs untraced is called, whyever it does.
const EXEC_UNTRACED: &str = "ExecUntraced";

/// The controller of the pod, or the pod if it has a name already.
fn object(decided: &Decided) -> Option<ObjectReference> {
    let namespace = Some(decided.namespace.clone());
    if let Some(controller) = &decided.controller {
        let text = |field: &str| controller[field].as_str().map(str::to_owned);
        return Some(ObjectReference {
            api_version: text("apiVersion"),
            kind: Some(text("kind")?),
            name: Some(text("name")?),
            uid: text("uid"),
            namespace,
            ..ObjectReference::default()
        });
    }
    (!decided.generated_name && !decided.name.is_empty()).then(|| ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        name: Some(decided.name.clone()),
        uid: decided.uid.clone(),
        namespace,
        ..ObjectReference::default()
    })
}

fn shortened(mut text: String) -> String {
    if text.len() > LONGEST {
        let mut end = LONGEST - 3;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push_str("...");
    }
    text
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    result: &'static str,
}

/// What became of events, for Prometheus. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct EventCounts(Family<Labels, Counter>);

impl EventCounts {
    /// Registers `picket_operator_events`.
    #[must_use]
    pub fn new(registry: &mut Registry) -> Self {
        let counts = Self::default();
        let help = "Events on workloads, by what became of them";
        registry.register("picket_operator_events", help, counts.0.clone());
        counts
    }

    fn count(&self, result: &'static str) {
        self.0.get_or_create(&Labels { result }).inc();
    }
}

/// Takes decisions from the webhook, and what controllers have to tell.
#[derive(Clone, Debug)]
pub struct EventRecorder {
    sender: mpsc::Sender<Told>,
    counts: EventCounts,
}

/// A recorder for the webhook, and what [`tell`] reads from.
#[must_use]
pub fn recorder(counts: EventCounts) -> (EventRecorder, mpsc::Receiver<Told>) {
    let (sender, told) = mpsc::channel(WAITING);
    (EventRecorder { sender, counts }, told)
}

impl EventRecorder {
    /// Has something told, unless too much waits to be told.
    pub fn tell(&self, told: Told) {
        if self.sender.try_send(told).is_err() {
            self.counts.count("dropped");
        }
    }
}

impl Recorder for EventRecorder {
    fn record(&self, decided: &Decided) {
        Told::of(decided)
            .into_iter()
            .for_each(|told| self.tell(told));
    }
}

/// Writes events until nobody can hand over any more.
pub async fn tell(
    client: Client,
    identity: String,
    counts: EventCounts,
    mut told: mpsc::Receiver<Told>,
) {
    let reporter = Reporter {
        controller: CONTROLLER.to_owned(),
        instance: Some(identity),
    };
    let publisher = Publisher::new(client.clone(), reporter);
    let mut limit = Limit::new(Instant::now());
    while let Some(told) = told.recv().await {
        if !limit.allows(&told, Instant::now()) {
            counts.count("dropped");
            continue;
        }
        let write = async {
            let object = owner(&client, &told.object).await;
            let event = Event {
                type_: if told.warning {
                    EventType::Warning
                } else {
                    EventType::Normal
                },
                reason: told.reason.to_owned(),
                note: Some(told.note.clone()),
                action: told.action.to_owned(),
                secondary: None,
            };
            publisher.publish(&event, &object).await
        };
        match timeout(PATIENCE, write).await {
            Ok(Ok(())) => counts.count("written"),
            Ok(Err(error)) => {
                debug!(%error, reason = told.reason, "an event cannot be written");
                counts.count("failed");
            }
            Err(_) => counts.count("failed"),
        }
    }
}

/// The Deployment of a ReplicaSet and the CronJob of a Job: what people look at. Whatever cannot
/// be looked up stays what it is.
pub(crate) async fn owner(client: &Client, object: &ObjectReference) -> ObjectReference {
    let owner = match object.kind.as_deref() {
        Some("ReplicaSet") => controller_of::<ReplicaSet>(client, object).await,
        Some("Job") => controller_of::<Job>(client, object).await,
        _ => None,
    };
    owner.unwrap_or_else(|| object.clone())
}

async fn controller_of<K>(client: &Client, object: &ObjectReference) -> Option<ObjectReference>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug,
{
    let namespace = object.namespace.as_deref()?;
    let objects: Api<K> = Api::namespaced(client.clone(), namespace);
    let found = objects
        .get_metadata_opt(object.name.as_deref()?)
        .await
        .ok()??;
    let owners = found.owner_references();
    let owner = owners.iter().find(|owner| owner.controller == Some(true))?;
    Some(ObjectReference {
        api_version: Some(owner.api_version.clone()),
        kind: Some(owner.kind.clone()),
        name: Some(owner.name.clone()),
        uid: Some(owner.uid.clone()),
        namespace: object.namespace.clone(),
        ..ObjectReference::default()
    })
}

type Key = (Option<String>, Option<String>, Option<String>, &'static str);

/// Bounds how often anything, and how often the same, is told.
struct Limit {
    tokens: f64,
    filled: Instant,
    told: HashMap<Key, Instant>,
}

impl Limit {
    fn new(now: Instant) -> Self {
        Self {
            tokens: BURST,
            filled: now,
            told: HashMap::new(),
        }
    }

    fn allows(&mut self, told: &Told, now: Instant) -> bool {
        let object = &told.object;
        let key = (
            object.namespace.clone(),
            object.kind.clone(),
            object.name.clone(),
            told.reason,
        );
        let recent = |at: &Instant| now.saturating_duration_since(*at) < AGAIN;
        if self.told.get(&key).is_some_and(recent) {
            return false;
        }
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.tokens = (self.tokens + passed * PER_SECOND).min(BURST);
        self.filled = now;
        if self.tokens < 1.0 {
            return false;
        }
        self.tokens -= 1.0;
        if self.told.len() >= REMEMBERED {
            self.told.retain(|_, at| recent(at));
        }
        if self.told.len() < REMEMBERED {
            self.told.insert(key, now);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use picket_webhook::Report;
    use picket_webhook::admission::Entry;
    use serde_json::json;

    use super::*;

    fn decided(reason: Reason) -> Decided {
        Decided {
            entry: Entry::Ignore,
            namespace: "shop".into(),
            name: "web-1".into(),
            generated_name: false,
            uid: None,
            controller: None,
            dry_run: false,
            allowed: true,
            command: None,
            report: Report::of(reason),
        }
    }

    #[test]
    fn what_is_told_by_table() {
        for (reason, expected) in [
            (Reason::Injected, Some(false)),
            (Reason::PartlyInjected, Some(true)),
            (Reason::EntrypointUnresolved, Some(true)),
            (Reason::QuotaWouldRefuse, Some(true)),
            (Reason::OptedOutAudited, Some(false)),
            (Reason::BreakGlass, Some(true)),
            (Reason::InjectionSuspended, Some(true)),
            (Reason::OptedOut, None),
            (Reason::NotSelected, None),
            (Reason::Current, None),
        ] {
            let told = Told::of(&decided(reason));
            assert_eq!(told.first().map(|told| told.warning), expected, "{reason}");
            assert!(told.iter().all(|told| told.reason == reason.word()));
        }
    }

    #[test]
    fn a_command_that_runs_untraced_is_told_with_its_caller() {
        for (reason, expected) in [
            (Reason::ExecExcluded, true),
            (Reason::ContainerNotTraced, true),
            (Reason::PodNotInjected, true),
            (Reason::ExecUnsupported, true),
            (Reason::ExecTraced, false),
            (Reason::NotSelected, false),
            (Reason::PodUnknown, false),
        ] {
            let mut one = decided(reason);
            one.command = Some(CommandRun {
                username: "alice".into(),
                container: "web".into(),
            });
            let told = Told::of(&one);
            assert_eq!(!told.is_empty(), expected, "{reason}");
            for told in told {
                assert_eq!(told.reason, "ExecUntraced");
                assert_eq!(told.object.kind.as_deref(), Some("Pod"));
                let start = "alice ran a command in container web (kubectl exec)";
                assert!(told.note.starts_with(start), "{}", told.note);
                assert!(told.note.contains(reason.word()), "{}", told.note);
            }
        }
    }

    #[test]
    fn the_controller_is_told_and_a_pod_without_a_name_is_not() {
        let mut one = decided(Reason::Injected);
        one.controller = Some(
            json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "7", "controller": true}),
        );
        let told = Told::of(&one).remove(0);
        assert_eq!(told.object.kind.as_deref(), Some("ReplicaSet"));
        assert_eq!(told.object.uid.as_deref(), Some("7"));
        one.controller = None;
        assert_eq!(Told::of(&one)[0].object.kind.as_deref(), Some("Pod"));
        one.generated_name = true;
        assert_eq!(Told::of(&one), []);
    }

    #[test]
    fn notes_that_cost_or_overrule_are_told_too() {
        let mut one = decided(Reason::Injected);
        one.report.notes = vec![
            Note::FargateSizeGrows,
            Note::QosChanges,
            Note::OptOutForbidden,
        ];
        let reasons: Vec<&str> = Told::of(&one).iter().map(|told| told.reason).collect();
        assert_eq!(reasons, ["Injected", "FargateSizeGrows", "OptOutForbidden"]);
    }

    #[test]
    fn the_same_and_too_much_are_held_back() {
        let start = Instant::now();
        let mut limit = Limit::new(start);
        let told = Told::of(&decided(Reason::Injected)).remove(0);
        assert!(limit.allows(&told, start));
        assert!(!limit.allows(&told, start + AGAIN / 2));
        assert!(limit.allows(&told, start + AGAIN));
        let now = start + 2 * AGAIN;
        let mut allowed = 0;
        for number in 0..100 {
            let mut other = told.clone();
            other.object.name = Some(format!("web-{number}"));
            allowed += usize::from(limit.allows(&other, now));
        }
        assert_eq!(allowed, 50);
    }

    #[test]
    fn a_long_note_is_cut_between_characters() {
        let note = shortened("é".repeat(LONGEST));
        assert!(note.len() <= LONGEST && note.ends_with("..."));
    }
}
