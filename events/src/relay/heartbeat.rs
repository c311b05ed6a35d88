//! What an agent says of itself, its rules and its containers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::bounds::{Excess, entries, text};
use super::{MAX_CONTAINERS, MAX_NAME, MAX_TEXT};
use crate::text::printable;

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

impl ContainerReport {
    fn texts(&mut self) -> impl Iterator<Item = &mut String> {
        let step = match &mut self.state {
            ContainerState::NotTraced { step, .. } => Some(step),
            _ => None,
        };
        [&mut self.name].into_iter().chain(step)
    }
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
        /// Files that rules are about are not watched for reads.
        ReadsUnwatched,
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

    /// The same without control characters: what a pod says is shown to people.
    #[must_use]
    pub fn printable(mut self) -> Self {
        let rules = &mut self.rules;
        let rejected = rules.rejected.iter_mut();
        let texts = [&mut rules.bundle, &mut rules.hash]
            .into_iter()
            .chain(rejected.flat_map(|rejected| [&mut rejected.bundle, &mut rejected.reason]))
            .chain([&mut self.agent_version, &mut self.revision])
            .chain(self.containers.iter_mut().flat_map(ContainerReport::texts));
        for text in texts {
            if text.contains(char::is_control) {
                *text = printable(text);
            }
        }
        let reasons = std::mem::take(&mut self.losses.events).into_iter();
        self.losses.events = reasons
            .map(|(reason, count)| (printable(&reason), count))
            .collect();
        self
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
    fn what_people_see_cannot_disturb_their_terminal() {
        let heartbeat: Heartbeat = serde_json::from_str(
            r#"{"revision": "1\u001b[2J", "containers": [
                {"name": "we\nb", "state": "NotTraced", "step": "sec\u009bcomp", "errno": 22}
            ], "losses": {"events": {"a\r": 4}}}"#,
        )
        .unwrap();
        let shown = heartbeat.printable();
        assert_eq!(shown.revision, "1 [2J");
        assert_eq!(shown.containers[0].name, "we b");
        let step = "sec comp".to_owned();
        let state = ContainerState::NotTraced { step, errno: 22 };
        assert_eq!(shown.containers[0].state, state);
        assert_eq!(shown.losses.events.get("a "), Some(&4));
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
