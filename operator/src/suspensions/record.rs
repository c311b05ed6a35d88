//! What is kept of a suspension, and how it is written down.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::api::core::v1::{ConfigMap, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::pods::Owner;

/// The longest message that is kept, in bytes.
const LONGEST: usize = 500;

/// Why injection is suspended. The words are part of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Cause {
    /// The image of tracer and agent cannot be pulled.
    SidecarImagePull,
    /// The container that copies the tracer fails, or cannot be started.
    SetupFailed,
    /// The agent fails, and keeps its pod from becoming ready.
    AgentFailed,
    /// The application fails again and again where it ran without, or with another injection.
    ApplicationCrashLoop,
    /// Fargate's scheduler refuses the pod.
    NotSupportedOnFargate,
    /// Restarted pods did not become ready.
    RolloutFailed,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::SidecarImagePull,
        Self::SetupFailed,
        Self::AgentFailed,
        Self::ApplicationCrashLoop,
        Self::NotSupportedOnFargate,
        Self::RolloutFailed,
    ];

    /// The stable word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::SidecarImagePull => "SidecarImagePull",
            Self::SetupFailed => "SetupFailed",
            Self::AgentFailed => "AgentFailed",
            Self::ApplicationCrashLoop => "ApplicationCrashLoop",
            Self::NotSupportedOnFargate => "NotSupportedOnFargate",
            Self::RolloutFailed => "RolloutFailed",
        }
    }

    /// Whether it may mend itself, so that trying again is worth it. The others need a change.
    #[must_use]
    pub const fn may_pass(self) -> bool {
        matches!(
            self,
            Self::SidecarImagePull | Self::SetupFailed | Self::AgentFailed
        )
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// The object that people know a pod by: what owns the pod's owner, if anything does.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Workload {
    /// Group and version of its kind.
    pub api_version: String,
    /// Its kind.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

impl Workload {
    /// The object that this owner reference of something in `namespace` names.
    #[must_use]
    pub fn new(namespace: &str, owner: &Owner) -> Self {
        Self {
            api_version: owner.api_version.to_string(),
            kind: owner.kind.to_string(),
            namespace: namespace.to_owned(),
            name: owner.name.to_string(),
            uid: owner.uid.to_string(),
        }
    }

    /// A reference for events.
    #[must_use]
    pub fn reference(&self) -> ObjectReference {
        ObjectReference {
            api_version: Some(self.api_version.clone()),
            kind: Some(self.kind.clone()),
            namespace: Some(self.namespace.clone()),
            name: Some(self.name.clone()),
            uid: Some(self.uid.clone()),
            ..ObjectReference::default()
        }
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} in {}", self.kind, self.name, self.namespace)
    }
}

/// That injection is suspended for a workload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// The workload.
    pub workload: Workload,
    /// Why.
    pub cause: Cause,
    /// Why, for people.
    pub message: String,
    /// Since when.
    pub since: Time,
    /// The policy that won, by its key.
    pub policy: String,
    /// The fingerprint of image, revision and policy that it holds for
    /// ([`picket_webhook::suspension::fingerprint`]).
    pub holds_for: String,
    /// Whether the registry refused the sidecar image to the control plane too, so that it can
    /// tell when that has passed.
    #[serde(default)]
    pub pull_refused: bool,
}

impl Record {
    /// A record from now on, for what `policy` would inject as this fingerprint.
    #[must_use]
    pub fn new(
        workload: Workload,
        cause: Cause,
        message: String,
        (policy, holds_for): (&str, &str),
    ) -> Self {
        Self {
            workload,
            cause,
            message: shortened(message),
            since: Time(Timestamp::now()),
            policy: policy.to_owned(),
            holds_for: holds_for.to_owned(),
            pull_refused: false,
        }
    }
}

/// All suspensions, by the uid of the workload.
pub type Records = BTreeMap<String, Record>;

/// What a ConfigMap says. An entry that cannot be understood is left out: it suspends nothing.
#[must_use]
pub(super) fn read(config_map: &ConfigMap) -> Records {
    let entries = config_map.data.iter().flatten();
    entries
        .filter_map(|(uid, text)| match serde_json::from_str(text) {
            Ok(record) => Some((uid.clone(), record)),
            Err(error) => {
                warn!(uid, %error, "a suspension cannot be understood, so it does not count");
                None
            }
        })
        .collect()
}

/// A message that is not too long to be kept.
#[must_use]
pub(super) fn shortened(mut message: String) -> String {
    if message.len() > LONGEST {
        let mut end = LONGEST - 3;
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        message.truncate(end);
        message.push_str("...");
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nonsense_does_not_count() {
        let record = Record {
            workload: Workload {
                api_version: "apps/v1".into(),
                kind: "Deployment".into(),
                namespace: "shop".into(),
                name: "web".into(),
                uid: "7".into(),
            },
            cause: Cause::SidecarImagePull,
            message: "two pods wait".into(),
            since: Time(Timestamp::from_second(10).expect("time")),
            policy: "shop/all".into(),
            holds_for: "0123".into(),
            pull_refused: true,
        };
        let text = serde_json::to_string(&record).expect("JSON");
        let data = [
            ("7", text.as_str()),
            ("8", "{"),
            ("9", "{\"cause\":\"Bored\"}"),
        ];
        let config_map = ConfigMap {
            data: Some(data.map(|(uid, text)| (uid.into(), text.into())).into()),
            ..ConfigMap::default()
        };
        assert_eq!(read(&config_map), [("7".to_owned(), record)].into());
        assert_eq!(read(&ConfigMap::default()), Records::new());
    }

    #[test]
    fn words_are_what_is_written() {
        for cause in Cause::ALL {
            assert_eq!(serde_json::to_value(cause).expect("JSON"), cause.word());
        }
    }
}
