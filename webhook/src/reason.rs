//! Why a pod or a container was or was not injected.
//!
//! The words are part of the interface: the same in metric labels, logs, events, admission
//! warnings and the command line. New ones may come; none changes its meaning.

use std::fmt;

use serde::Serialize;

/// What became of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub enum Outcome {
    /// It is protected.
    Injected,
    /// It was not meant to be.
    Skipped,
    /// It was meant to be and is not.
    Failed,
}

impl Outcome {
    /// The stable word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Injected => "Injected",
            Self::Skipped => "Skipped",
            Self::Failed => "Failed",
        }
    }
}

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident: $outcome:ident, $text:literal;)+) => {
        /// Why.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
        pub enum Reason {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Reason {
            /// All of them, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// The stable word.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),+ }
            }

            /// What became of the pod or container that has this reason.
            pub const fn outcome(self) -> Outcome {
                match self { $(Self::$name => Outcome::$outcome),+ }
            }

            /// One sentence for people.
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $text),+ }
            }
        }
    };
}

reasons! {
    /// Every selected container is traced.
    Injected: Injected, "every selected container is traced";
    /// Some selected container is not traced; the report names it.
    PartlyInjected: Injected, "some selected container is not traced";
    /// The pod is already as this revision and policy would make it.
    Current: Injected, "the pod already is as it would be injected";
    /// Injection is switched off for the whole cluster.
    InjectionDisabled: Skipped, "injection is switched off";
    /// The request is not the creation of a pod.
    NotAPodCreation: Skipped, "only the creation of pods is looked at";
    /// The control plane creates the pod for trial, and wants it back as it is.
    TrialLeftBare: Skipped, "the control plane tries whether the namespace takes a pod that is not injected";
    /// Picket's own namespace, or kube-system.
    NamespaceExcluded: Skipped, "pods of this namespace are never injected";
    /// The kubelet mirrors this pod from a file.
    MirrorPod: Skipped, "a mirror pod cannot be changed";
    /// The pod runs on Windows.
    WindowsPod: Skipped, "there is no tracer for Windows";
    /// No policy selects the pod.
    NotSelected: Skipped, "no policy selects the pod";
    /// A policy selects the pod, but only if it runs on Fargate.
    NotFargate: Skipped, "the policy is for Fargate pods; this one lacks the label eks.amazonaws.com/fargate-profile";
    /// The policy that wins has `mode: Disabled`.
    PolicyDisabled: Skipped, "the policy that wins has mode Disabled";
    /// The pod is labelled `picket.dev/protect: "false"` and the policy allows that.
    OptedOut: Skipped, "the pod opted out by label and the policy allows it";
    /// The same where the policy wants it recorded.
    OptedOutAudited: Skipped, "the pod opted out by label; the policy wants this recorded";
    /// The pod is labelled `picket.dev/break-glass` with a reason, and the installation lets that
    /// count.
    BreakGlass: Skipped, "the pod is labelled picket.dev/break-glass: protection was left out on purpose";
    /// Ephemeral containers: the pod was not injected when it was created.
    PodNotInjected: Skipped, "the pod itself is not injected, so there is no tracer in it";
    /// Ephemeral containers: `coverage.ephemeralContainers` is false.
    EphemeralContainersExcluded: Skipped, "coverage.ephemeralContainers is false";
    /// `kubectl exec`: the command is traced, with the caller's name.
    ExecTraced: Injected, "the command runs under a tracer that knows the caller";
    /// `kubectl exec`: `coverage.exec` is false.
    ExecExcluded: Skipped, "coverage.exec is false";
    /// `kubectl exec`: our volume is not mounted in the container.
    ContainerNotTraced: Skipped, "the container has no tracer";
    /// `kubectl exec`: what was put into the pod cannot trace sessions.
    ExecUnsupported: Skipped, "what was injected into the pod cannot trace sessions: it is Datadog's, or of a version before this one, or older than the operator's keys; a restart of the pod helps with the last two";
    /// `kubectl exec`: the operator does not know the pod (yet).
    PodUnknown: Failed, "nothing is known of the pod yet";
    /// No container of the pod is selected.
    NoContainerSelected: Skipped, "the policy selects no container of the pod";
    /// `containers.include` does not name the container.
    NotIncluded: Skipped, "containers.include does not name it";
    /// `containers.exclude` names the container.
    Excluded: Skipped, "containers.exclude names it";
    /// `containers.initContainers` is false.
    InitContainersExcluded: Skipped, "containers.initContainers is false";
    /// The container has no `command` and the image's entrypoint is not known.
    EntrypointUnresolved: Failed, "it has no `command`, and what its image runs is not known; give it a `command` or the policy an entrypoint override";
    /// The entrypoint is known to be empty.
    NoEntrypoint: Failed, "neither the container nor the entrypoint override says what runs";
    /// The container mounts something at `/picket` or below.
    MountConflict: Failed, "it already mounts something at /picket";
    /// The pod has a volume named `picket` that is not Picket's, or mounts Picket's elsewhere.
    VolumeConflict: Failed, "the pod uses the volume name `picket` or `picket-token` for something else";
    /// The pod has a container named `picket-setup` or `picket-agent` that is not Picket's.
    NameConflict: Failed, "the pod uses a container name of Picket's for something else";
    /// The pod ends by itself and the agent would be an ordinary container, which does not.
    SidecarWouldBlockEnd: Failed, "the pod is meant to end, and without native sidecars the agent would keep it running";
    /// A Fargate size holds the pod, but none holds it with the agent: it would never start.
    FargateTooLarge: Failed, "no Fargate size holds the pod with the agent; request less, for the pod or in agent.resources";
    /// A LimitRange or ResourceQuota would admit the pod, but not the injected one.
    QuotaWouldRefuse: Failed, "a LimitRange or ResourceQuota of the namespace would refuse the pod with the agent; leave it more room, or give the agent other amounts in agent.resources";
    /// Provider Datadog: the namespace refuses containers that run as root.
    PodSecurityConflict: Failed, "the namespace refuses containers that run as root (Pod Security Standard restricted), which Datadog's need";
    /// Provider Datadog: the namespace lacks the Secret with the API key.
    SecretMissing: Failed, "the namespace lacks the Secret with Datadog's API key, so the agent would not start";
    /// Provider Datadog: an agent or tracer of theirs is in the pod already.
    DatadogAlreadyThere: Failed, "the pod already has Datadog's agent or tracer; remove what was added by hand or by their webhook";
    /// Injection is suspended for the workload, because it kept its pods from starting.
    InjectionSuspended: Failed, "injection is suspended for this workload, because injected pods of it did not start";
    /// The pod is not of the shape that a pod has.
    Malformed: Failed, "the pod is malformed";
}

impl Reason {
    /// True when the pod or container was meant to be traced and is not.
    pub fn is_failure(self) -> bool {
        self.outcome() == Outcome::Failed
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_serialise_as_themselves() {
        for reason in Reason::ALL {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.word());
        }
    }
}
