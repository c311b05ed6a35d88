//! Findings on their way to the relay: bounded, and counted where they do not fit.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use picket_events::relay::{FindingBatch, MAX_BATCH, MAX_FINDING, MAX_FINDINGS, VERSION};
use serde_json::value::RawValue;
use tokio::sync::mpsc::{self, error::TryRecvError};

use crate::finding::Finding;
use crate::shares::{Kind, Shares};
use crate::sink::Sink;

/// Most findings that wait.
const WAITING: usize = 1024;
/// Bytes of findings that one batch may hold: leaves room for the rest of its body.
const BATCH_BYTES: usize = MAX_FINDINGS - 64 * 1024;

/// A sink that passes findings on to another, and to the relay those that mean something: what
/// only informs stays in the pod's log.
pub struct Relayed {
    inner: Arc<dyn Sink>,
    queue: mpsc::UnboundedSender<(Kind, String)>,
    shares: Arc<Shares>,
    dropped: Arc<AtomicU64>,
}

/// What the relay has not got yet.
#[derive(Debug)]
pub struct Outbox {
    queue: mpsc::UnboundedReceiver<(Kind, String)>,
    shares: Arc<Shares>,
    dropped: Arc<AtomicU64>,
    told: u64,
    /// A batch that was not delivered.
    held: Vec<String>,
}

impl Relayed {
    /// A sink before `inner`, and what it collects.
    pub fn before(inner: Arc<dyn Sink>) -> (Self, Outbox) {
        let (queue, waiting) = mpsc::unbounded_channel();
        let shares = Arc::new(Shares::of(WAITING));
        let dropped = Arc::new(AtomicU64::new(0));
        let outbox = Outbox {
            queue: waiting,
            shares: Arc::clone(&shares),
            dropped: Arc::clone(&dropped),
            told: 0,
            held: Vec::new(),
        };
        let sink = Self {
            inner,
            queue,
            shares,
            dropped,
        };
        (sink, outbox)
    }
}

impl Sink for Relayed {
    fn emit(&self, finding: Finding) {
        if finding.finding.is_some() {
            let (kind, line) = (Kind::of(&finding), finding.to_line());
            let is_taken = line.len() <= MAX_FINDING
                && self.shares.enter(kind)
                && self.queue.send((kind, line)).is_ok();
            if !is_taken {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.inner.emit(finding);
    }

    fn dropped(&self) -> u64 {
        self.inner.dropped()
    }

    fn flush(&self, limit: Duration) {
        self.inner.flush(limit);
    }
}

impl Outbox {
    /// How many findings could not be sent since the start.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// True when nothing waits.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty() && self.queue.is_empty()
    }

    /// The next batch as JSON; `None` when nothing waits. It comes again until it is
    /// [`delivered`](Self::delivered).
    pub fn batch(&mut self) -> Option<Vec<u8>> {
        let mut bytes: usize = self.held.iter().map(String::len).sum();
        while self.held.len() < MAX_BATCH && bytes + MAX_FINDING <= BATCH_BYTES {
            match self.queue.try_recv() {
                Ok((kind, line)) => {
                    self.shares.leave(kind);
                    bytes += line.len();
                    self.held.push(line);
                }
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
            }
        }
        if self.held.is_empty() {
            return None;
        }
        let findings = self
            .held
            .iter()
            .filter_map(|line| serde_json::from_str::<&RawValue>(line).ok())
            .collect();
        let batch = FindingBatch {
            version: VERSION,
            dropped: self.dropped().saturating_sub(self.told),
            findings,
        };
        // Lines of JSON and numbers: writing them cannot fail.
        Some(serde_json::to_vec(&batch).unwrap_or_default())
    }

    /// The last batch has arrived.
    pub fn delivered(&mut self) {
        self.held.clear();
        self.told = self.dropped();
    }

    /// The relay does not want the last batch, and never will.
    pub fn refused(&mut self) {
        let lost = u64::try_from(self.held.len()).unwrap_or(u64::MAX);
        self.dropped.fetch_add(lost, Ordering::Relaxed);
        self.held.clear();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::finding::MeaningSection;

    fn finding(title: &str) -> Finding {
        Finding {
            title: title.to_owned(),
            finding: Some(MeaningSection::default()),
            ..Finding::default()
        }
    }

    fn titles(batch: &[u8]) -> (u64, Vec<String>) {
        let batch: FindingBatch<Value> = serde_json::from_slice(batch).unwrap();
        let titles = batch
            .findings
            .iter()
            .map(|finding| finding["title"].as_str().unwrap_or_default().to_owned());
        (batch.dropped, titles.collect())
    }

    #[test]
    fn a_batch_comes_again_until_it_is_delivered() {
        let (sink, mut outbox) = Relayed::before(Arc::new(|_: Finding| {}));
        assert_eq!(outbox.batch(), None);
        sink.emit(finding("a"));
        sink.emit(Finding::default());
        assert_eq!(titles(&outbox.batch().unwrap()), (0, vec!["a".to_owned()]));
        sink.emit(finding("b"));
        let both = vec!["a".to_owned(), "b".to_owned()];
        assert_eq!(titles(&outbox.batch().unwrap()), (0, both));
        outbox.delivered();
        assert!(outbox.is_empty() && outbox.batch().is_none());
    }

    #[test]
    fn what_does_not_fit_is_counted_and_told_once() {
        let (sink, mut outbox) = Relayed::before(Arc::new(|_: Finding| {}));
        sink.emit(finding(&"x".repeat(MAX_FINDING)));
        let room = WAITING / 2;
        for _ in 0..room + 5 {
            sink.emit(finding("y"));
        }
        assert_eq!(outbox.dropped(), 6);
        let (dropped, first) = titles(&outbox.batch().unwrap());
        assert_eq!((dropped, first.len()), (6, MAX_BATCH));
        outbox.delivered();
        let (dropped, _) = titles(&outbox.batch().unwrap());
        assert_eq!(dropped, 0);
        outbox.refused();
        assert_eq!(outbox.dropped(), 6 + MAX_BATCH as u64);
    }
}
