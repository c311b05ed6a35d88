//! What is told of a decision, and of what a controller did.

use k8s_openapi::api::core::v1::ObjectReference;
use picket_webhook::admission::{CommandRun, Decided};
use picket_webhook::report::Note;
use picket_webhook::{Outcome, Reason};

/// The longest note that the API takes, in bytes.
const LONGEST: usize = 1000;

/// Something to tell about an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    pub(super) object: ObjectReference,
    pub(super) warning: bool,
    pub(super) reason: &'static str,
    pub(super) note: String,
    pub(super) action: &'static str,
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
    fn a_long_note_is_cut_between_characters() {
        let note = shortened("é".repeat(LONGEST));
        assert!(note.len() <= LONGEST && note.ends_with("..."));
    }
}
