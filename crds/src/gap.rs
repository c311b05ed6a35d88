//! What is not seen of a workload that a policy selects.
//!
//! The words are part of the interface: the same in reports, metric labels, events and the
//! command line. New ones may come; none changes its meaning.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

macro_rules! gaps {
    ($($(#[doc = $doc:literal])+ $name:ident: $breaks:literal, $text:literal;)+) => {
        /// What is not seen.
        #[derive(
            Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash,
            JsonSchema,
        )]
        pub enum Gap {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Gap {
            /// All of them, in the order of the documentation: the worst first.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// The stable word.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),+ }
            }

            /// Whether a workload with this gap is Unhealthy. The others leave a part unseen
            /// that was never promised, or can wait for the next restart.
            pub const fn is_unhealthy(self) -> bool {
                match self { $(Self::$name => $breaks),+ }
            }

            /// One sentence for people.
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $text),+ }
            }
        }
    };
}

gaps! {
    /// The pod was created without tracer and agent, though a policy selects it.
    Uninjected: true, "the pod has no tracer and no agent; restart its workload";
    /// Injection is suspended for the workload, because injected pods of it did not start.
    InjectionSuspended: true, "injection is suspended for this workload";
    /// AWS has found no place for the injected pod, or refuses it.
    PendingOnFargate: true, "the pod waits for a place on Fargate";
    /// A selected container is not traced: what its image runs is not known.
    EntrypointUnresolved: true, "a container runs untraced: what its image runs is not known";
    /// A selected container is not traced, for another reason of the webhook.
    ContainerSkipped: true, "a container runs untraced";
    /// A container should be traced and is not.
    NotTraced: true, "a container runs untraced: its tracer does not work";
    /// The agent's container does not run.
    AgentFailing: true, "the agent does not run";
    /// The agent has not been heard for too long.
    NoHeartbeat: true, "the agent is not heard";
    /// The pod was injected by another revision.
    StaleRevision: false, "the pod was injected by another revision; restart its workload";
    /// The pod was injected for another policy, or for an older version of it.
    StalePolicy: false, "the pod was injected for another policy or mode; restart its workload";
    /// The rules need more than the installed filter shows.
    RulesNeedRestart: false, "rules need more than the tracer was started with; restart the workload";
    /// Files that rules are about cannot be watched for reads.
    ReadsUnwatched: false, "some reads of files that rules are about are not seen: they cannot be watched";
    /// The agent did not take the rules that it was given.
    RulesRejected: false, "the agent goes on with older rules";
    /// Events were lost.
    EventsLost: false, "events were lost";
    /// AWS provisioned another size than was computed.
    CapacityDrift: false, "AWS provisioned another size than expected";
    /// A probe's command runs without the tracer.
    ExecProbe: false, "a probe's command runs untraced";
    /// A hook's command runs without the tracer.
    LifecycleHook: false, "a lifecycle hook's command runs untraced";
    /// Sessions by `kubectl exec` would run without a tracer of their own.
    Exec: false, "sessions by kubectl exec run untraced; coverage.exec of the policy is off";
    /// An ephemeral container runs without the tracer.
    Ephemeral: false, "an ephemeral container runs untraced";
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}
