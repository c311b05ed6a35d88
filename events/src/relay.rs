//! What agents and the operator's relay say to each other: JSON over HTTP, all of it here.
//!
//! An agent posts a [`Heartbeat`], asks for its [`Orders`] and waits until they change, fetches
//! a [`RuleBundle`] by its hash, and posts a [`FindingBatch`]. Who speaks is told by the bearer
//! token, never by a body.
//!
//! Operator and agents are upgraded at different times: fields that a side does not know are
//! left alone, fields that are missing have a default, and words that it does not know become
//! `Unknown`. A body is bounded three times: in bytes before it is read ([`MAX_HEARTBEAT`] …),
//! in entries, and in the length of each text ([`Heartbeat::check`]).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Version of these types: raised when a reader of the version before would misunderstand.
pub const VERSION: u32 = 1;

/// Audience of the tokens with which agents come.
pub const AUDIENCE: &str = "picket";
/// Audience of the tokens with which people read findings.
pub const READER_AUDIENCE: &str = "picket-cli";

/// `POST`: a [`Heartbeat`]; answered with 204.
pub const HEARTBEAT_PATH: &str = "/v1/heartbeat";
/// `GET`: the [`Orders`] of the pod; with `?seen=TAG` the answer waits until they differ from
/// those, or is 204 after about half a minute.
pub const ORDERS_PATH: &str = "/v1/orders";
/// `GET`, followed by a hash: the [`RuleBundle`] whose bytes have this SHA-256.
pub const RULES_PATH: &str = "/v1/rules/";
/// `POST`: a [`FindingBatch`]; answered with 204.
pub const FINDINGS_PATH: &str = "/v1/findings";
/// `GET`: the last findings of all pods, a line of JSON each; with `?follow=true` those that come
/// too. For tokens with [`READER_AUDIENCE`].
pub const READER_PATH: &str = "/v1/recent-findings";

/// Largest heartbeat, in bytes: 64 KiB.
pub const MAX_HEARTBEAT: usize = 64 * 1024;
/// Largest batch of findings, in bytes: 1 MiB.
pub const MAX_FINDINGS: usize = 1024 * 1024;
/// Largest finding that is worth sending, in bytes: 64 KiB.
pub const MAX_FINDING: usize = 64 * 1024;
/// Most findings of a batch.
pub const MAX_BATCH: usize = 256;
/// Largest rule bundle, in bytes: 32 MiB.
pub const MAX_BUNDLE: usize = 32 * 1024 * 1024;
/// Largest orders, in bytes: 256 KiB.
pub const MAX_ORDERS: usize = 256 * 1024;
/// Most containers that a heartbeat tells of.
pub const MAX_CONTAINERS: usize = 64;
/// Longest name or word, in bytes.
pub const MAX_NAME: usize = 253;
/// Longest sentence, in bytes.
pub const MAX_TEXT: usize = 1024;

/// Seconds between heartbeats.
pub const HEARTBEAT_SECONDS: u64 = 30;

/// How an agent is, every [`HEARTBEAT_SECONDS`] and whenever it changes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Heartbeat {
    /// [`VERSION`] of the sender.
    pub version: u32,
    /// Uid of the pod, as the agent was told; compared with the token's.
    pub pod_uid: String,
    /// Version of the agent.
    pub agent_version: String,
    /// Revision of the injection.
    pub revision: String,
    /// When the agent started, seconds since the epoch by the pod's clock.
    pub started_at: u64,
    /// Seconds since then.
    pub uptime_seconds: u64,
    /// The rules in use.
    pub rules: RulesInUse,
    /// True while the pod is cut off from the network.
    pub quarantined: bool,
    /// Each container whose tracer said hello.
    pub containers: Vec<ContainerReport>,
    /// What was lost since the agent started.
    pub losses: Losses,
    /// Findings since the agent started, events about Picket left out.
    pub findings: u64,
    /// Connections closed because what came was malformed or forged.
    pub violations: u64,
}

/// The rules that an agent evaluates.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RulesInUse {
    /// SHA-256 of the [`RuleBundle`] in use; empty for the rules built into the agent.
    pub bundle: String,
    /// Hash of the rules as they were compiled.
    pub hash: String,
    /// How many rules there are.
    pub count: u64,
    /// How many were refused.
    pub refused: u64,
    /// A bundle that was ordered and could not be taken into use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rejected: Option<RejectedBundle>,
}

/// A bundle that an agent did not take; it keeps the last good one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RejectedBundle {
    /// Its hash.
    pub bundle: String,
    /// Why.
    pub reason: String,
}

/// How a container is traced.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerReport {
    /// Name of the container; of a probe's or hook's tracer `container:what`.
    pub name: String,
    /// How it is.
    #[serde(flatten)]
    pub state: ContainerState,
    /// What traces it.
    pub engine: EngineName,
    /// How often its tracer's worker was replaced.
    pub restarts: u32,
    /// What is not seen, or not as wanted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gaps: Vec<Gap>,
    /// Events since its tracer's first hello.
    pub events: u64,
    /// Events that were lost.
    pub lost: u64,
}

/// Enums whose variants are words in JSON; a word that is not known is `Unknown`.
macro_rules! words {
    ($(#[$about:meta])* $name:ident { $($(#[$meaning:meta])* $word:ident),+ $(,)? }) => {
        $(#[$about])*
        #[derive(
            Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
        )]
        #[serde(from = "String")]
        pub enum $name {
            $($(#[$meaning])* $word,)+
            /// A word of another version.
            #[default]
            Unknown,
        }

        impl $name {
            /// The word for it.
            pub const fn word(self) -> &'static str {
                match self {
                    $(Self::$word => stringify!($word),)+
                    Self::Unknown => "Unknown",
                }
            }
        }

        impl From<String> for $name {
            fn from(word: String) -> Self {
                match word.as_str() {
                    $(stringify!($word) => Self::$word,)+
                    _ => Self::Unknown,
                }
            }
        }
    };
}

/// Whether a container is traced.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "WrittenState", into = "WrittenState")]
pub enum ContainerState {
    /// Its tracer is connected.
    Traced,
    /// It runs untraced.
    NotTraced {
        /// What was tried (`seccomp`, `clone`, …); empty where nothing was.
        step: String,
        /// Positive errno; 0 where there is none.
        errno: i32,
    },
    /// Its tracer was connected and is not now.
    Disconnected,
    /// Its application ended.
    Ended,
    /// A word of another version.
    #[default]
    Unknown,
}

impl ContainerState {
    /// The word for it.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Traced => "Traced",
            Self::NotTraced { .. } => "NotTraced",
            Self::Disconnected => "Disconnected",
            Self::Ended => "Ended",
            Self::Unknown => "Unknown",
        }
    }
}

/// A [`ContainerState`] in JSON.
#[derive(Serialize, Deserialize)]
struct WrittenState {
    #[serde(default)]
    state: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    step: String,
    #[serde(default, skip_serializing_if = "is_zero")]
    errno: i32,
}

fn is_zero(number: &i32) -> bool {
    *number == 0
}

impl From<WrittenState> for ContainerState {
    fn from(written: WrittenState) -> Self {
        let WrittenState { state, step, errno } = written;
        match state.as_str() {
            "Traced" => Self::Traced,
            "NotTraced" => Self::NotTraced { step, errno },
            "Disconnected" => Self::Disconnected,
            "Ended" => Self::Ended,
            _ => Self::Unknown,
        }
    }
}

impl From<ContainerState> for WrittenState {
    fn from(state: ContainerState) -> Self {
        let word = state.word().to_owned();
        let (step, errno) = match state {
            ContainerState::NotTraced { step, errno } => (step, errno),
            _ => Default::default(),
        };
        Self {
            state: word,
            step,
            errno,
        }
    }
}

words! {
    /// What traces a container.
    EngineName {
        /// Seccomp user notification.
        UserNotification,
        /// Ptrace.
        Ptrace,
        /// Nothing.
        None,
    }
}

words! {
    /// What is not seen of a container that is traced.
    Gap {
        /// The rules need events that the installed filter does not show; a restart of the pod
        /// mends it.
        RulesNeedRestart,
        /// Events were lost.
        EventsLost,
    }
}

/// What was lost since an agent started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Losses {
    /// Events, by reason.
    pub events: BTreeMap<String, u64>,
    /// Findings that could not be written to standard output.
    pub findings: u64,
    /// Findings that could not be sent to the relay.
    pub relayed: u64,
}

/// What the operator wants of a pod.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Orders {
    /// [`VERSION`] of the sender.
    pub version: u32,
    /// Names this content: other orders have another tag.
    pub tag: String,
    /// SHA-256 of the bundle to evaluate; empty for the rules built into the agent.
    pub bundle: String,
    /// Cut the pod off from the network; `None` lets it go again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quarantine: Option<Quarantine>,
    /// Certificates (PEM) of the authorities that the relay's certificate may be signed by from
    /// now on; empty leaves what the agent has.
    pub trust: String,
}

/// Why a pod is cut off from the network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Quarantine {
    /// Who asked for it, for people.
    pub reason: String,
}

/// Policies and lists that an agent loads as one. Its hash is the SHA-256 of the bytes that the
/// relay sends, in lower-case hexadecimal.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RuleBundle {
    /// [`VERSION`] of the sender.
    pub version: u32,
    /// Whether the rules and lists built into the agent are loaded first.
    pub defaults: bool,
    /// Policies, in order.
    pub policies: Vec<NamedText>,
    /// Lists.
    pub lists: Vec<NamedText>,
}

/// A policy or list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NamedText {
    /// File name.
    pub name: String,
    /// Content.
    pub text: String,
}

/// Findings of a pod. `F` is a finding in whatever form the side has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FindingBatch<F> {
    /// [`VERSION`] of the sender.
    #[serde(default)]
    pub version: u32,
    /// How many findings were dropped before these since the last batch.
    #[serde(default)]
    pub dropped: u64,
    /// The findings, oldest first, each as in the agent's output.
    #[serde(default = "Vec::new")]
    pub findings: Vec<F>,
}

/// What a body must not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Excess {
    /// Too many entries.
    #[error("{field}: more than {limit} entries")]
    Entries {
        /// The field.
        field: &'static str,
        /// Most that are taken.
        limit: usize,
    },
    /// A text that is too long.
    #[error("{field}: a text of more than {limit} bytes")]
    Text {
        /// The field.
        field: &'static str,
        /// Longest that is taken.
        limit: usize,
    },
}

fn entries(field: &'static str, count: usize, limit: usize) -> Result<(), Excess> {
    match count > limit {
        true => Err(Excess::Entries { field, limit }),
        false => Ok(()),
    }
}

fn text(field: &'static str, text: &str, limit: usize) -> Result<(), Excess> {
    match text.len() > limit {
        true => Err(Excess::Text { field, limit }),
        false => Ok(()),
    }
}

impl Heartbeat {
    /// Whether everything is within its bounds.
    ///
    /// # Errors
    /// The first [`Excess`].
    pub fn check(&self) -> Result<(), Excess> {
        text("podUid", &self.pod_uid, MAX_NAME)?;
        text("agentVersion", &self.agent_version, MAX_NAME)?;
        text("revision", &self.revision, MAX_NAME)?;
        text("rules.bundle", &self.rules.bundle, MAX_NAME)?;
        text("rules.hash", &self.rules.hash, MAX_NAME)?;
        if let Some(rejected) = &self.rules.rejected {
            text("rules.rejected.bundle", &rejected.bundle, MAX_NAME)?;
            text("rules.rejected.reason", &rejected.reason, MAX_TEXT)?;
        }
        entries("containers", self.containers.len(), MAX_CONTAINERS)?;
        for container in &self.containers {
            text("containers.name", &container.name, MAX_NAME)?;
            entries("containers.gaps", container.gaps.len(), 16)?;
            if let ContainerState::NotTraced { step, .. } = &container.state {
                text("containers.step", step, MAX_NAME)?;
            }
        }
        entries("losses.events", self.losses.events.len(), 16)?;
        for reason in self.losses.events.keys() {
            text("losses.events", reason, MAX_NAME)?;
        }
        Ok(())
    }

    /// True when nothing but counters and times differs: nobody has to look at it again.
    pub fn says_the_same(&self, other: &Self) -> bool {
        let state = |container: &ContainerReport| {
            (
                container.name.clone(),
                container.state.clone(),
                container.engine,
                container.gaps.clone(),
            )
        };
        self.agent_version == other.agent_version
            && self.revision == other.revision
            && self.rules == other.rules
            && self.quarantined == other.quarantined
            && self.containers.len() == other.containers.len()
            && self
                .containers
                .iter()
                .zip(&other.containers)
                .all(|(own, other)| state(own) == state(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traced(name: &str) -> ContainerReport {
        ContainerReport {
            name: name.to_owned(),
            state: ContainerState::Traced,
            engine: EngineName::UserNotification,
            ..ContainerReport::default()
        }
    }

    #[test]
    fn counters_are_no_news_and_states_are() {
        let before = Heartbeat {
            containers: vec![traced("web")],
            ..Heartbeat::default()
        };
        let mut later = before.clone();
        later.uptime_seconds = 30;
        later.findings = 4;
        later.containers[0].events = 1000;
        assert!(before.says_the_same(&later));
        later.containers[0].gaps.push(Gap::RulesNeedRestart);
        assert!(!before.says_the_same(&later));
        let mut other = before.clone();
        other.rules.bundle = "ab".to_owned();
        assert!(!before.says_the_same(&other));
    }

    #[test]
    fn what_is_over_its_bounds_is_named() {
        let crowd = Heartbeat {
            containers: vec![traced("web"); MAX_CONTAINERS + 1],
            ..Heartbeat::default()
        };
        assert_eq!(
            crowd.check().unwrap_err().to_string(),
            "containers: more than 64 entries"
        );
        let long = Heartbeat {
            containers: vec![traced(&"w".repeat(MAX_NAME + 1))],
            ..Heartbeat::default()
        };
        assert_eq!(
            long.check().unwrap_err().to_string(),
            "containers.name: a text of more than 253 bytes"
        );
        assert_eq!(Heartbeat::default().check(), Ok(()));
    }

    #[test]
    fn another_version_is_understood_as_far_as_it_goes() {
        let heartbeat: Heartbeat = serde_json::from_str(
            r#"{"version": 9, "podUid": "7", "weather": "fair", "containers": [
                {"name": "a", "state": "NotTraced", "step": "seccomp", "errno": 22},
                {"name": "b", "state": "Asleep", "since": 4, "engine": "Lasers",
                 "gaps": ["Hole", "RulesNeedRestart"]},
                {"name": "c"}
            ]}"#,
        )
        .unwrap();
        let states: Vec<&str> = heartbeat
            .containers
            .iter()
            .map(|container| container.state.word())
            .collect();
        assert_eq!(states, ["NotTraced", "Unknown", "Unknown"]);
        assert_eq!(heartbeat.containers[1].engine, EngineName::Unknown);
        assert_eq!(
            heartbeat.containers[1].gaps,
            [Gap::Unknown, Gap::RulesNeedRestart]
        );
        let again = serde_json::to_string(&heartbeat).unwrap();
        assert_eq!(
            serde_json::from_str::<Heartbeat>(&again).unwrap(),
            heartbeat
        );
    }
}
