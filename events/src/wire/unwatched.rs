//! Files that the tracer was to watch for reads, and does not.

use serde::{Deserialize, Serialize};

/// What is not watched for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unwatched {
    /// Why.
    pub reason: UnwatchedReason,
    /// How many files and directories.
    pub count: u64,
    /// The first of them, or the patterns that name them.
    pub paths: Vec<String>,
}

/// Why a file is not watched for reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum UnwatchedReason {
    /// The kernel gives this user no inotify instance (`fs.inotify.max_user_instances`), or has
    /// none.
    NoInstance,
    /// This user has no watch left (`fs.inotify.max_user_watches`).
    NoWatchLeft,
    /// More files, directories or names fit than a tracer watches.
    TooMany,
    /// The tracer's user may not read it, and a process of the container may come to.
    Unreadable,
    /// It was watched, but more was opened than the kernel keeps for a tracer that is busy
    /// (`fs.inotify.max_queued_events`): what came then is not known.
    Overflowed,
}

impl UnwatchedReason {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::NoInstance,
        Self::NoWatchLeft,
        Self::TooMany,
        Self::Unreadable,
        Self::Overflowed,
    ];

    /// The stable word, as findings have it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::NoInstance => "NoInstance",
            Self::NoWatchLeft => "NoWatchLeft",
            Self::TooMany => "TooMany",
            Self::Unreadable => "Unreadable",
            Self::Overflowed => "Overflowed",
        }
    }
}
