//! What follows from the ailing pods of one workload. Pure.

use std::sync::Arc;
use std::time::Duration;

use picket_events::text;

use super::ailment::Ailment;
use crate::suspensions::{Cause, Record};

/// An ailing pod.
#[derive(Clone, Debug)]
pub(super) struct Patient {
    /// Its uid.
    pub(super) uid: Arc<str>,
    /// Its name.
    pub(super) name: String,
    /// Kind of its controller.
    pub(super) controller: String,
    /// The fingerprint of what was injected into it.
    pub(super) fingerprint: String,
    /// What is wrong with it.
    pub(super) ailment: Ailment,
    /// For how long it has been so.
    pub(super) since: Duration,
    /// Whether it has never been ready, as far as is known for sure; false where that was not
    /// asked because [`Ailment::never_started`] says more.
    pub(super) never_ready: bool,
    /// For [`Cause::ApplicationCrashLoop`]: whether the same application runs otherwise.
    pub(super) ran_before: bool,
}

/// What is known of the workload.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known<'a> {
    /// The fingerprint of what would be injected into a new pod; `None` if no policy wins.
    pub(super) present: Option<&'a str>,
    /// The suspension, if there is one.
    pub(super) suspended: Option<&'a Record>,
    /// Whether pods that are not protected are refused: then none may start bare.
    pub(super) refuses_bare: bool,
    /// How long one pod alone may ail.
    pub(super) patience: Duration,
}

/// What to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Suspend injection, for this cause and with this message.
    pub(super) suspend: Option<(Cause, String)>,
    /// Tell that it would be suspended if bare pods were not refused, with this message.
    pub(super) tell: Option<(Cause, String)>,
    /// Pods to be replaced by their controller.
    pub(super) evict: Vec<Arc<str>>,
}

/// Judges the ailing pods of one workload.
pub(super) fn judge(patients: &[Patient], known: &Known<'_>) -> Verdict {
    let mut verdict = Verdict::default();
    let present = |patient: &&Patient| Some(patient.fingerprint.as_str()) == known.present;
    let (present, outdated): (Vec<&Patient>, Vec<&Patient>) = patients.iter().partition(present);
    // What they wait for will not come; a new pod is injected otherwise, or not at all.
    verdict.evict.extend(
        outdated
            .iter()
            .filter(|patient| may_be_replaced(patient))
            .map(|patient| Arc::clone(&patient.uid)),
    );
    let holds = known
        .suspended
        .is_some_and(|record| Some(record.holds_for.as_str()) == known.present);
    if holds {
        if !known.refuses_bare {
            let replaced = present.iter().filter(|patient| may_be_replaced(patient));
            verdict
                .evict
                .extend(replaced.map(|patient| Arc::clone(&patient.uid)));
        }
        return verdict;
    }
    let counted: Vec<&&Patient> = present
        .iter()
        .filter(|patient| {
            patient.ailment.cause != Cause::ApplicationCrashLoop || patient.ran_before
        })
        .collect();
    let settled = counted
        .iter()
        .filter(|patient| patient.since >= known.patience / 6)
        .count();
    let alone = counted
        .iter()
        .any(|patient| patient.since >= known.patience);
    if settled < 2 && !alone {
        return verdict;
    }
    if let Some(first) = counted.iter().max_by_key(|patient| patient.since) {
        let message = format!(
            "{} with Picket, for example {}: {}",
            text::counted(
                counted.len(),
                "of its pods does not start",
                "of its pods do not start"
            ),
            first.name,
            first.ailment.words
        );
        let outcome = (first.ailment.cause, message);
        if known.refuses_bare {
            verdict.tell = Some(outcome);
        } else {
            verdict.suspend = Some(outcome);
        }
    }
    verdict
}

/// Whether a pod may be taken away, so that its controller makes another. Nothing is lost with
/// one that has run nothing of the user's, and little with one that was never ready. A pod that
/// is taken from a Job counts as one of the failures that the Job may have.
fn may_be_replaced(patient: &Patient) -> bool {
    patient.controller != "Job" && (patient.ailment.never_started || patient.never_ready)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use k8s_openapi::jiff::Timestamp;

    use super::*;
    use crate::suspensions::Workload;

    fn patient(uid: &str, cause: Cause, seconds: u64) -> Patient {
        Patient {
            uid: uid.into(),
            name: format!("web-{uid}"),
            controller: "ReplicaSet".into(),
            fingerprint: "now".into(),
            ailment: Ailment {
                cause,
                words: "picket-setup: ImagePullBackOff".into(),
                never_started: cause != Cause::ApplicationCrashLoop,
            },
            since: Duration::from_secs(seconds),
            never_ready: true,
            ran_before: false,
        }
    }

    const NOTHING: Known<'_> = Known {
        present: Some("now"),
        suspended: None,
        refuses_bare: false,
        patience: Duration::from_secs(60),
    };

    fn record(holds_for: &str) -> Record {
        Record {
            workload: Workload {
                api_version: "apps/v1".into(),
                kind: "Deployment".into(),
                namespace: "shop".into(),
                name: "web".into(),
                uid: "7".into(),
            },
            cause: Cause::SidecarImagePull,
            message: String::new(),
            since: Time(Timestamp::UNIX_EPOCH),
            policy: "shop/all".into(),
            holds_for: holds_for.into(),
            pull_refused: false,
        }
    }

    #[test]
    fn two_pods_or_one_for_long_suspend() {
        let pull = |uid, seconds| patient(uid, Cause::SidecarImagePull, seconds);
        for (patients, suspends) in [
            (vec![], false),
            (vec![pull("1", 59)], false),
            (vec![pull("1", 60)], true),
            (vec![pull("1", 9), pull("2", 9)], false),
            (vec![pull("1", 20), pull("2", 9)], false),
            (vec![pull("1", 20), pull("2", 10)], true),
        ] {
            let verdict = judge(&patients, &NOTHING);
            assert_eq!(verdict.suspend.is_some(), suspends, "{patients:?}");
            assert_eq!(verdict.evict, [], "nothing goes before it is written down");
        }
        let verdict = judge(&[pull("1", 20), pull("2", 10)], &NOTHING);
        let message = "2 of its pods do not start with Picket, for example web-1: picket-setup: ImagePullBackOff";
        assert_eq!(
            verdict.suspend,
            Some((Cause::SidecarImagePull, message.to_owned()))
        );
    }

    #[test]
    fn once_suspended_stuck_pods_are_replaced_unless_of_a_job() {
        let known = Known {
            suspended: Some(&record("now")),
            ..NOTHING
        };
        let mut of_job = patient("2", Cause::SetupFailed, 100);
        of_job.controller = "Job".into();
        let patients = [patient("1", Cause::SidecarImagePull, 1), of_job];
        let verdict = judge(&patients, &known);
        assert_eq!((verdict.suspend, verdict.evict), (None, vec!["1".into()]));
    }

    #[test]
    fn a_suspension_of_another_injection_does_not_hold() {
        let known = Known {
            suspended: Some(&record("before")),
            ..NOTHING
        };
        let patients = [
            patient("1", Cause::SetupFailed, 20),
            patient("2", Cause::SetupFailed, 20),
        ];
        let verdict = judge(&patients, &known);
        assert!(verdict.suspend.is_some());
        assert_eq!(verdict.evict, []);
    }

    #[test]
    fn pods_of_an_injection_that_is_no_more_are_replaced_and_do_not_count() {
        let old = |uid| Patient {
            fingerprint: "before".into(),
            ..patient(uid, Cause::SidecarImagePull, 100)
        };
        for present in [Some("now"), None] {
            let known = Known { present, ..NOTHING };
            let verdict = judge(&[old("1"), old("2")], &known);
            assert_eq!(verdict.suspend, None);
            assert_eq!(verdict.evict, ["1".into(), "2".into()]);
        }
    }

    #[test]
    fn where_bare_pods_are_refused_it_is_told_and_nothing_more() {
        let known = Known {
            refuses_bare: true,
            ..NOTHING
        };
        let patients = [
            patient("1", Cause::SetupFailed, 20),
            patient("2", Cause::SetupFailed, 20),
        ];
        let verdict = judge(&patients, &known);
        assert!(verdict.tell.is_some() && verdict.suspend.is_none());
        let suspended = Known {
            suspended: Some(&record("now")),
            ..known
        };
        assert_eq!(judge(&patients, &suspended), Verdict::default());
    }

    #[test]
    fn an_application_that_never_ran_otherwise_crashes_by_itself() {
        let crash = |uid, ran_before, never_ready| Patient {
            ran_before,
            never_ready,
            ..patient(uid, Cause::ApplicationCrashLoop, 100)
        };
        // Whether such a pod was ready is not asked.
        let own = [crash("1", false, false), crash("2", false, false)];
        assert_eq!(judge(&own, &NOTHING), Verdict::default());
        let ours = [crash("1", true, true), crash("2", true, false)];
        assert!(judge(&ours, &NOTHING).suspend.is_some());
        let known = Known {
            suspended: Some(&record("now")),
            ..NOTHING
        };
        assert_eq!(judge(&ours, &known).evict, ["1".into()], "2 was ready once");
    }
}
