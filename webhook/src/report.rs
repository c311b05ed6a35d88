//! What was decided about a pod, for metrics, logs, events and people.

use std::fmt;

use picket_crds::{Mode, OnEntrypointFailure, OnInjectFailure, Provider};
use serde::Serialize;

use crate::capacity::{FargateSize, Qos};
use crate::entrypoint::Wanted;
use crate::reason::{Outcome, Reason};
use crate::status::{AgentKind, ArgvSource, Change};

/// What was decided about a pod.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Why.
    pub reason: Reason,
    /// More about the reason, for example the path of a malformed field.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The policy that won.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyReport>,
    /// The workload that the pod belongs to, as `Kind/name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload: Option<String>,
    /// Every container that the pod brought, init containers first.
    pub containers: Vec<ContainerReport>,
    /// What was added, if the pod is injected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub added: Option<Added>,
    /// What else someone should know.
    pub notes: Vec<Note>,
    /// Images that have to be known for a better answer, and about which nobody was asked.
    #[serde(skip)]
    pub wanted: Vec<Wanted>,
}

/// The policies that select the pod.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyReport {
    /// The winner, as `namespace/name`; a policy of the cluster by its name alone.
    pub winner: String,
    /// Those that lost, the next in line first.
    pub losers: Vec<String>,
    /// The winner's mode.
    pub mode: Mode,
    /// Whose tracer and agent the winner wants.
    #[serde(skip_serializing_if = "is_ours")]
    pub provider: Provider,
    /// Rule sets of all of them.
    pub rule_sets: Vec<String>,
    /// What the winner wants when the pod cannot be injected.
    pub on_inject_failure: OnInjectFailure,
    /// What the winner wants when an entrypoint cannot be found out.
    pub on_entrypoint_failure: OnEntrypointFailure,
}

fn is_ours(provider: &Provider) -> bool {
    *provider == Provider::Picket
}

/// One container.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerReport {
    /// Its name.
    pub name: String,
    /// Whether it is an init container.
    pub init: bool,
    /// What was decided.
    #[serde(flatten)]
    pub decision: Decision,
    /// More about the reason, if it is not traced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The image that said what runs, if one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageReport>,
}

/// What an image says about its process, as far as people want to see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageReport {
    /// Digest of what the reference names.
    pub digest: String,
    /// True when the container's image reference is pinned to it.
    pub pinned: bool,
    /// `User`; the container keeps it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// `WorkingDir`; the container keeps it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// `StopSignal`; the tracer passes it on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// `PATH`, in which the tracer looks for a relative ENTRYPOINT.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// What was decided about a container.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Decision {
    /// It is traced.
    Traced {
        /// What the tracer runs. May hold secrets: for people who see the pod anyway.
        #[serde(skip)]
        argv: Vec<String>,
        /// Where that came from.
        source: ArgvSource,
    },
    /// It is left as it is.
    Skipped {
        /// Why.
        reason: Reason,
    },
}

/// What was added to the pod.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Added {
    /// How the agent runs.
    pub agent: AgentKind,
    /// Uid and gid of what was added.
    pub uid: u32,
    /// The agent's memory request, in MiB.
    pub agent_memory: u64,
    /// The Fargate size, if the pod runs there; `None` inside: larger than AWS offers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fargate: Option<Change<Option<FargateSize>>>,
    /// The quality-of-service class.
    pub qos: Change<Qos>,
}

/// Something that does not stop the injection but that someone should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "word")]
pub enum Note {
    /// The pod asked not to be protected; the policy forbids that.
    OptOutForbidden,
    /// The pod is labelled `picket.dev/break-glass`, which does not count in this installation.
    BreakGlassIgnored,
    /// The container's exec probe runs untraced.
    ExecProbeUntraced {
        /// The container.
        container: String,
        /// The probe.
        probe: &'static str,
    },
    /// The container's lifecycle hook runs untraced.
    LifecycleHookUntraced {
        /// The container.
        container: String,
        /// The hook.
        hook: &'static str,
    },
    /// Tracing sets no_new_privs, so setuid programs of a non-root user do not gain rights
    /// in this container.
    SetuidPrograms {
        /// The container.
        container: String,
    },
    /// The pod gets a larger Fargate size, which costs more.
    FargateSizeGrows,
    /// The quality-of-service class changes.
    QosChanges,
    /// A LimitRange or ResourceQuota has changed what the agent requests or is limited to.
    FitsNamespaceLimits,
}

impl Note {
    /// The stable word.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::OptOutForbidden => "OptOutForbidden",
            Self::BreakGlassIgnored => "BreakGlassIgnored",
            Self::ExecProbeUntraced { .. } => "ExecProbeUntraced",
            Self::LifecycleHookUntraced { .. } => "LifecycleHookUntraced",
            Self::SetuidPrograms { .. } => "SetuidPrograms",
            Self::FargateSizeGrows => "FargateSizeGrows",
            Self::QosChanges => "QosChanges",
            Self::FitsNamespaceLimits => "FitsNamespaceLimits",
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OptOutForbidden => f.write_str(
                "the pod is labelled picket.dev/protect=false; the policy forbids opting out",
            ),
            Self::BreakGlassIgnored => f.write_str(
                "the pod is labelled picket.dev/break-glass, but the installation names nobody who may do that (chart value breakGlass)",
            ),
            Self::ExecProbeUntraced { container, probe } => {
                write!(
                    f,
                    "container {container}: {probe} runs a command, which is not traced"
                )
            }
            Self::LifecycleHookUntraced { container, hook } => {
                write!(
                    f,
                    "container {container}: {hook} runs a command, which is not traced"
                )
            }
            Self::SetuidPrograms { container } => write!(
                f,
                "container {container}: setuid programs such as sudo or ping gain no rights under the tracer (allowPrivilegeEscalation is not false)"
            ),
            Self::FargateSizeGrows => f.write_str(
                "the agent's memory does not fit the pod's Fargate size; the next one costs more",
            ),
            Self::QosChanges => f.write_str("the quality-of-service class of the pod changes"),
            Self::FitsNamespaceLimits => f.write_str(
                "what the agent requests and is limited to was changed to fit a LimitRange or ResourceQuota",
            ),
        }
    }
}

impl fmt::Display for ImageReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digest = match self.digest.as_str() {
            "" => "given by hand",
            digest => digest,
        };
        write!(f, "image: {digest}")?;
        if self.pinned {
            f.write_str(" (pinned)")?;
        }
        for (name, value) in [
            ("user", &self.user),
            ("working directory", &self.working_dir),
            ("stop signal", &self.stop_signal),
            ("PATH", &self.path),
        ] {
            if let Some(value) = value {
                write!(f, ", {name} {value}")?;
            }
        }
        Ok(())
    }
}

impl Report {
    /// A report without anything but a reason.
    pub fn of(reason: Reason) -> Self {
        Self {
            reason,
            detail: None,
            policy: None,
            workload: None,
            containers: Vec::new(),
            added: None,
            notes: Vec::new(),
            wanted: Vec::new(),
        }
    }

    /// What became of the pod.
    pub fn outcome(&self) -> Outcome {
        self.reason.outcome()
    }

    /// Containers that were meant to be traced and are not, with why.
    pub fn failed_containers(&self) -> impl Iterator<Item = (&str, Reason)> {
        self.containers
            .iter()
            .filter_map(|container| match &container.decision {
                Decision::Skipped { reason } if reason.is_failure() => {
                    Some((container.name.as_str(), *reason))
                }
                _ => None,
            })
    }

    /// True when something was meant to be traced and is not, and the policy wants such pods
    /// refused.
    pub fn wants_refusal(&self) -> bool {
        let Some(policy) = &self.policy else {
            return false;
        };
        let unresolved = [Reason::EntrypointUnresolved, Reason::NoEntrypoint];
        if policy.on_entrypoint_failure == OnEntrypointFailure::Deny
            && self
                .failed_containers()
                .any(|(_, reason)| unresolved.contains(&reason))
        {
            return true;
        }
        policy.on_inject_failure == OnInjectFailure::Deny
            && (self.reason.is_failure() || self.failed_containers().next().is_some())
    }

    /// One line for an event, a warning or a refusal.
    pub fn summary(&self) -> String {
        let mut line = format!("{}: {}", self.reason, self.reason.text());
        if let Some(detail) = &self.detail {
            line.push_str(&format!(" ({detail})"));
        }
        if self.reason == Reason::PartlyInjected {
            for container in &self.containers {
                if let Decision::Skipped { reason } = &container.decision
                    && reason.is_failure()
                {
                    let name = &container.name;
                    line.push_str(&format!("; container {name}: {reason}: {}", reason.text()));
                    if let Some(detail) = &container.detail {
                        line.push_str(&format!(" ({detail})"));
                    }
                }
            }
        }
        line
    }
}

impl fmt::Display for Report {
    /// The text of `picket explain`, one fact a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.outcome(), self.summary())?;
        if let Some(workload) = &self.workload {
            writeln!(f, "workload: {workload}")?;
        }
        if let Some(policy) = &self.policy {
            writeln!(
                f,
                "policy: {}, mode {:?}, rule sets {}",
                policy.winner,
                policy.mode,
                policy.rule_sets.join(", ")
            )?;
            if !is_ours(&policy.provider) {
                writeln!(f, "  provider: {:?}", policy.provider)?;
            }
            if !policy.losers.is_empty() {
                writeln!(f, "  wins over: {}", policy.losers.join(", "))?;
            }
        }
        for container in &self.containers {
            let kind = if container.init {
                "init container"
            } else {
                "container"
            };
            match &container.decision {
                Decision::Traced { argv, source } => {
                    writeln!(
                        f,
                        "{kind} {}: traced, runs {argv:?} (from {source:?})",
                        container.name
                    )?;
                }
                Decision::Skipped { reason } => {
                    writeln!(
                        f,
                        "{kind} {}: not traced, {reason}: {}",
                        container.name,
                        reason.text()
                    )?;
                    if let Some(detail) = &container.detail {
                        writeln!(f, "  {detail}")?;
                    }
                }
            }
            if let Some(image) = &container.image {
                writeln!(f, "  {image}")?;
            }
        }
        if let Some(added) = &self.added {
            writeln!(
                f,
                "agent: {:?}, uid {}, memory request {}Mi",
                added.agent, added.uid, added.agent_memory
            )?;
            if let Some(Change { before, after }) = added.fargate {
                let text = |size: Option<FargateSize>| {
                    size.map_or("none large enough".to_owned(), |size| size.to_string())
                };
                writeln!(f, "fargate size: {} -> {}", text(before), text(after))?;
            }
            writeln!(f, "qos class: {} -> {}", added.qos.before, added.qos.after)?;
        }
        for note in &self.notes {
            writeln!(f, "note {}: {note}", note.word())?;
        }
        Ok(())
    }
}
