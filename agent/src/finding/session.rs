//! The part of a finding that says who opened the session.

use serde::Serialize;

use crate::sessions::UserSession;

/// A session that somebody opened in the container, as Datadog's agent reports it.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct UserSessionSection {
    /// Tells it from other sessions.
    pub id: String,
    /// `k8s`: `kubectl exec`.
    pub session_type: &'static str,
    /// Who opened it, as the API server authenticated the caller.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub k8s_username: String,
    /// The caller's uid.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub k8s_uid: String,
    /// The caller's groups.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub k8s_groups: Vec<String>,
    /// True when there are more groups.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub k8s_groups_truncated: bool,
    /// Why it is not known who opened it, if it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unidentified: Option<&'static str>,
}

impl From<&UserSession> for UserSessionSection {
    fn from(session: &UserSession) -> Self {
        Self {
            id: session.id.clone(),
            session_type: "k8s",
            k8s_username: session.username.clone(),
            k8s_uid: session.uid.clone(),
            k8s_groups: session.groups.clone(),
            k8s_groups_truncated: session.groups_truncated,
            unidentified: session.unidentified.map(|reason| reason.word()),
        }
    }
}
