//! The circuit breaker: when injected pods of a workload do not start because of Picket, its
//! next pods are left alone, and those that are stuck are replaced. Only the replica that leads
//! acts.
//!
//! * `ailment`: what keeps a pod from working; `verdict`: what follows for its workload. Both
//!   are pure.
//! * `memory`: since when pods ail, and what was found out about them.
//! * `evidence`: what has to be asked of the API server to judge.
//! * [`Breaker`]: does it.

mod ailment;
mod evidence;
mod memory;
mod verdict;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, EvictParams, Preconditions};
use kube::{Api, Client};
use picket_crds::{Mode, OnInjectFailure, labels};
use picket_webhook::policy::select;
use picket_webhook::suspension::fingerprint;
use picket_webhook::{Namespaces, Policy, PolicyStore, Settings};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::events::{EventRecorder, Told};
use crate::facts::Facts;
use crate::pods::{PodFacts, Pods};
use crate::preflight::Preflight;
use crate::suspensions::{Cause, Record, Suspensions, Workload};
use memory::Memory;
use verdict::{Known, Patient, Verdict, judge};

/// Changes of pods are gathered for this long.
const DEBOUNCE: Duration = Duration::from_millis(300);
/// The longest time between two looks.
const PAUSE: Duration = Duration::from_secs(5);
/// A suspension that may pass is tried again after its time, doubled at each new try up to this
/// many times.
const DOUBLED_AT_MOST: u32 = 4;

/// What the breaker did, for Prometheus. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct BreakerCounts {
    suspended: Counter,
    replaced: Counter,
}

impl BreakerCounts {
    /// Registers `picket_operator_suspensions` and `picket_operator_replaced_pods`.
    #[must_use]
    pub fn new(registry: &mut Registry) -> Self {
        let counts = Self::default();
        registry.register(
            "picket_operator_suspensions",
            "Workloads for which injection was suspended since this replica started",
            counts.suspended.clone(),
        );
        registry.register(
            "picket_operator_replaced_pods",
            "Stuck pods that were evicted so that their controller makes others",
            counts.replaced.clone(),
        );
        counts
    }
}

/// When the breaker acts.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// How long a single pod of a workload may ail. Two have a sixth of it.
    pub pod: Duration,
    /// After what time a suspension whose cause may pass is tried again.
    pub suspension: Duration,
}

/// Watches over injected pods.
pub struct Breaker {
    /// The way to the API server.
    pub client: Client,
    /// All pods.
    pub pods: Pods,
    /// The policies in use.
    pub policies: PolicyStore,
    /// Labels of namespaces.
    pub namespaces: Facts,
    /// What is injected.
    pub settings: Arc<Settings>,
    /// What is suspended.
    pub suspensions: Suspensions,
    /// Whether the sidecar image can be had.
    pub preflight: Preflight,
    /// Where events go.
    pub recorder: EventRecorder,
    /// What is counted.
    pub counts: BreakerCounts,
    /// Whether pods of enforced namespaces that are not injected are refused whatever their
    /// policy says.
    pub backstop_denies: bool,
    /// When it acts.
    pub patience: Patience,
}

/// What would be injected into a pod, by whose wish.
struct Present {
    policy: String,
    fingerprint: String,
    refuses_bare: bool,
}

impl Breaker {
    /// Acts on whatever changes while this replica leads, for as long as the watches live.
    pub async fn run(self, mut leading: watch::Receiver<bool>) {
        let mut changes = self.pods.changes();
        let mut suspensions = self.suspensions.changes();
        let mut memory = Memory::default();
        let pause = PAUSE.min(self.patience.pod / 6);
        loop {
            changes.mark_unchanged();
            suspensions.mark_unchanged();
            let leads = *leading.borrow_and_update();
            // Every replica remembers, so that a new leader does not begin to count anew.
            memory.look(&self.pods, Instant::now());
            if leads && self.pods.is_synced() && self.suspensions.is_synced() {
                self.resume_what_is_over(&mut memory).await;
                self.act(&mut memory).await;
            }
            let watching = tokio::select! {
                changed = changes.changed() => changed.is_ok(),
                changed = suspensions.changed() => changed.is_ok(),
                changed = leading.changed() => changed.is_ok(),
                () = sleep(pause) => true,
            };
            if !watching {
                return;
            }
            sleep(DEBOUNCE).await;
        }
    }

    /// Ends suspensions of what is no longer injected, and those whose cause may have passed.
    async fn resume_what_is_over(&self, memory: &mut Memory) {
        for (uid, record) in self.suspensions.all().iter() {
            let Some(why) = self.over(uid, record, memory).await else {
                continue;
            };
            match self.suspensions.resume(uid).await {
                Ok(()) => self.tell(&record.workload, (false, "InjectionResumed"), why),
                Err(error) => warn!(%error, "a suspension cannot be ended, trying again"),
            }
        }
    }

    async fn over(&self, uid: &str, record: &Record, memory: &mut Memory) -> Option<String> {
        let namespace = &record.workload.namespace;
        let policies = self.policies.snapshot();
        let policy = policies.iter().find(|policy| policy.key() == record.policy);
        let facts = self.namespaces.get(namespace).await;
        let settings = self.settings.for_namespace(namespace, &facts);
        let present = policy.map(|policy| fingerprint(&settings, policy));
        if present.as_deref() != Some(&record.holds_for) {
            return Some("image, revision or policy changed: new pods are injected again".into());
        }
        if !record.cause.may_pass() {
            return None;
        }
        if record.pull_refused && self.preflight.can_pull(&settings, namespace).await == Some(true)
        {
            return Some("the sidecar image can be pulled again: new pods are injected".into());
        }
        let age = Timestamp::now().duration_since(record.since.0);
        let doubled = memory.tried(uid).min(DOUBLED_AT_MOST);
        let due = self.patience.suspension * 2_u32.pow(doubled);
        (age.as_secs() >= i64::try_from(due.as_secs()).unwrap_or(i64::MAX)).then(|| {
            memory.try_again(uid);
            "its time is over: the next new pods are injected, to see whether they start".into()
        })
    }

    /// Judges the workloads of all ailing pods.
    async fn act(&self, memory: &mut Memory) {
        let ailing = self.ailing(memory).await;
        let mut workloads: BTreeMap<Workload, (Vec<Patient>, Option<Present>)> = BTreeMap::new();
        for (pod, ailment, since) in ailing {
            let Some(owner) = &pod.owner else { continue };
            // Who cannot be asked now is asked at the next look.
            let found = self.suspensions.workload(&pod.namespace, owner);
            let Some(workload) = found.await else {
                continue;
            };
            let present = self.present(&pod).await;
            let ran_before = ailment.cause == Cause::ApplicationCrashLoop
                && self.ran_before(&pod, &workload, memory).await;
            let runs = !ailment.never_started;
            let ours = ran_before || ailment.cause != Cause::ApplicationCrashLoop;
            let never_ready = runs && ours && self.was_never_ready(&pod).await;
            let status = pod.status.as_deref();
            let patient = Patient {
                uid: Arc::clone(&pod.uid),
                name: pod.name.to_string(),
                controller: owner.kind.to_string(),
                fingerprint: status.map_or_else(String::new, |status| status.fingerprint.clone()),
                ailment,
                since,
                never_ready,
                ran_before,
            };
            let entry = workloads.entry(workload).or_default();
            entry.0.push(patient);
            entry.1 = entry.1.take().or(present);
        }
        for (workload, (patients, present)) in workloads {
            let suspended = self.suspensions.all().get(&workload.uid).cloned();
            let known = Known {
                present: present.as_ref().map(|present| present.fingerprint.as_str()),
                suspended: suspended.as_ref(),
                refuses_bare: present.as_ref().is_some_and(|present| present.refuses_bare),
                patience: self.patience.pod,
            };
            let verdict = judge(&patients, &known);
            self.carry_out(&workload, &patients, present.as_ref(), verdict)
                .await;
        }
    }

    /// What would be injected into a pod now; `None` when nothing would.
    async fn present(&self, pod: &PodFacts) -> Option<Present> {
        let facts = self.namespaces.get(&pod.namespace).await;
        let policies = self.policies.snapshot();
        let policies = policies.iter().map(AsRef::<Policy>::as_ref);
        let label = |key: &str| pod.labels.get(key).map(String::as_str);
        let winner = select(
            policies,
            (&pod.namespace, &facts),
            label,
            pod.is_on_fargate(),
        )
        .ok()?
        .winner;
        if winner.spec.mode == Mode::Disabled {
            return None;
        }
        let settings = self.settings.for_namespace(&pod.namespace, &facts);
        Some(Present {
            policy: winner.key(),
            fingerprint: fingerprint(&settings, winner),
            refuses_bare: (self.backstop_denies
                || winner.spec.on_inject_failure == OnInjectFailure::Deny)
                && facts.label(labels::ENFORCE) == Some("true"),
        })
    }

    async fn carry_out(
        &self,
        workload: &Workload,
        patients: &[Patient],
        present: Option<&Present>,
        verdict: Verdict,
    ) {
        if let (Some((cause, message)), Some(present)) = (verdict.suspend, present) {
            self.suspend(workload, cause, message, present).await;
        }
        if let Some((_, message)) = verdict.tell {
            let note = format!(
                "{message}; injection goes on, because the namespace refuses pods that are not protected"
            );
            self.tell(workload, (true, "InjectionFails"), note);
        }
        let evicted = patients
            .iter()
            .filter(|patient| verdict.evict.contains(&patient.uid));
        for patient in evicted {
            self.evict(workload, patient).await;
        }
    }

    async fn suspend(&self, workload: &Workload, cause: Cause, message: String, present: &Present) {
        let facts = self.namespaces.get(&workload.namespace).await;
        let settings = self.settings.for_namespace(&workload.namespace, &facts);
        let pull = cause == Cause::SidecarImagePull;
        let pull_refused = pull
            && self
                .preflight
                .can_pull(&settings, &workload.namespace)
                .await
                == Some(false);
        let fingerprint = &present.fingerprint;
        let mut record = Record::new(
            workload.clone(),
            cause,
            message,
            (&present.policy, fingerprint),
        );
        record.pull_refused = pull_refused;
        let note = format!(
            "{cause}: {}; pods start without Picket until image, revision or policy change{}",
            record.message,
            if cause.may_pass() {
                ", or it is tried again"
            } else {
                ""
            }
        );
        match self.suspensions.suspend(record).await {
            Ok(()) => {
                self.counts.suspended.inc();
                self.tell(workload, (true, "InjectionSuspended"), note);
            }
            Err(error) => warn!(%workload, %error, "injection cannot be suspended, trying again"),
        }
    }

    /// Asks for a pod to be evicted, which a PodDisruptionBudget may refuse; then again later.
    async fn evict(&self, workload: &Workload, patient: &Patient) {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &workload.namespace);
        let parameters = EvictParams {
            delete_options: Some(DeleteParams::default().preconditions(Preconditions {
                uid: Some(patient.uid.to_string()),
                resource_version: None,
            })),
            ..EvictParams::default()
        };
        match pods.evict(&patient.name, &parameters).await {
            Ok(_) => {
                info!(%workload, pod = patient.name, why = patient.ailment.words, "a stuck pod is replaced");
                self.counts.replaced.inc();
                let note = format!(
                    "pod {} did not start with Picket and is replaced: {}",
                    patient.name, patient.ailment.words
                );
                self.tell(workload, (false, "StuckPodReplaced"), note);
            }
            Err(kube::Error::Api(status)) if [404, 409, 429].contains(&status.code) => {}
            Err(error) => {
                warn!(%workload, pod = patient.name, %error, "a stuck pod cannot be evicted")
            }
        }
    }

    fn tell(&self, workload: &Workload, (warning, reason): (bool, &'static str), note: String) {
        let told = Told::about(
            workload.reference(),
            (warning, reason),
            "CircuitBreaker",
            note,
        );
        self.recorder.tell(told);
    }
}
