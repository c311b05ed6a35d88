//! The last findings, for people who ask.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::broadcast;

use super::{ClusterFinding, Output};

/// Most findings that are kept.
const KEPT: usize = 2000;
/// Most bytes of findings that are kept.
const KEPT_BYTES: usize = 16 << 20;
/// How far a reader may fall behind before it misses some.
const BEHIND: usize = 1024;

#[derive(Debug, Default)]
struct Content {
    lines: VecDeque<Arc<str>>,
    bytes: usize,
}

/// The last findings, bounded in number and bytes. Clones share their content.
#[derive(Clone, Debug)]
pub struct Ring {
    content: Arc<Mutex<Content>>,
    new: broadcast::Sender<Arc<str>>,
}

/// The findings there are, and those that come.
#[derive(Debug)]
pub struct Followed {
    /// Those that are kept, oldest first.
    pub kept: Vec<Arc<str>>,
    /// Those that come after them.
    pub new: broadcast::Receiver<Arc<str>>,
}

impl Default for Ring {
    fn default() -> Self {
        Self {
            content: Arc::default(),
            new: broadcast::channel(BEHIND).0,
        }
    }
}

impl Ring {
    /// No findings yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What there is, and what comes, with nothing missing between.
    #[must_use]
    pub fn follow(&self) -> Followed {
        let content = self.content.lock().unwrap_or_else(PoisonError::into_inner);
        Followed {
            kept: content.lines.iter().cloned().collect(),
            new: self.new.subscribe(),
        }
    }

    fn push(&self, line: Arc<str>) {
        let mut content = self.content.lock().unwrap_or_else(PoisonError::into_inner);
        content.bytes += line.len();
        content.lines.push_back(Arc::clone(&line));
        while content.lines.len() > KEPT || content.bytes > KEPT_BYTES {
            let Some(oldest) = content.lines.pop_front() else {
                break;
            };
            content.bytes -= oldest.len();
        }
        // Nobody may be following.
        let _ = self.new.send(line);
    }
}

impl Output for Ring {
    fn take(&self, finding: &Arc<ClusterFinding>) {
        self.push(finding.to_line().into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_first_by_number_and_by_size() {
        let ring = Ring::new();
        for number in 0..=KEPT {
            ring.push(format!("{number}").into());
        }
        let kept = ring.follow().kept;
        assert_eq!(kept.len(), KEPT);
        assert_eq!(&*kept[0], "1");
        for _ in 0..3 {
            ring.push("x".repeat(KEPT_BYTES / 2).into());
        }
        assert_eq!(ring.follow().kept.len(), 2);
        let mut followed = ring.follow();
        ring.push("new".into());
        assert_eq!(followed.new.try_recv().as_deref(), Ok("new"));
    }
}
