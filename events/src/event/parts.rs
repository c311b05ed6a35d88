//! What belongs to some events and is more than a few values.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Why.
    pub cause: ExitCause,
    /// Exit code or signal number. `None` where the process was nobody's child that we wait
    /// for, so that only its end was seen.
    pub code: Option<u32>,
}

/// Why a process ended, numbered as SECL's `exit.cause`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[repr(u8)]
pub enum ExitCause {
    /// It called `exit`.
    Exited = 0,
    /// A signal killed it and left a core dump.
    CoreDumped = 1,
    /// A signal killed it.
    Signaled = 2,
}

/// A DNS message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dns {
    /// Transaction id.
    pub id: u16,
    /// Name asked for, without trailing dot.
    pub name: String,
    /// `QTYPE`.
    pub question_type: u16,
    /// `QCLASS`.
    pub class: u16,
    /// Length of the message.
    pub length: u16,
    /// Number of questions.
    pub count: u16,
    /// `RCODE` of an answer, `None` for a question.
    pub response_code: Option<u8>,
    /// Addresses in an answer.
    pub answers: Vec<IpAddr>,
}

/// A request to, or answer from, an instance metadata service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imds {
    /// True for an answer.
    pub response: bool,
    /// `aws`, `gcp`, `azure`, `ibm`, `oracle`, or empty.
    pub cloud_provider: String,
    /// Path asked for.
    pub url: String,
    /// `Host` header.
    pub host: String,
    /// `User-Agent` header.
    pub user_agent: String,
    /// `Server` header.
    pub server: String,
    /// True when a session token (IMDSv2) was used.
    pub is_v2: bool,
}
