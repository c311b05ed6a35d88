//! Where findings go.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use crate::finding::Finding;
use crate::shares::{Kind, Shares};

/// Most lines that wait to be written.
const QUEUE: usize = 1024;

/// Takes findings. It must not block: the events of every container wait for it.
pub trait Sink: Send + Sync {
    /// A finding.
    fn emit(&self, finding: Finding);

    /// How many findings could not be taken since the start.
    fn dropped(&self) -> u64 {
        0
    }

    /// Waits until what was taken is written, but no longer than this. May block.
    fn flush(&self, limit: Duration) {
        let _ = limit;
    }
}

impl<F: Fn(Finding) + Send + Sync> Sink for F {
    fn emit(&self, finding: Finding) {
        self(finding);
    }
}

/// Writes a line of JSON for each finding, from a thread of its own: when nobody reads, 1024
/// lines wait, three quarters of them of one container and half of one rule there, and further ones are
/// dropped and counted.
#[derive(Debug)]
pub struct Lines {
    queue: Sender<(Kind, String)>,
    shares: Arc<Shares>,
    dropped: Arc<AtomicU64>,
}

impl Lines {
    /// Writes to standard output.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn stdout() -> std::io::Result<Self> {
        Self::to(std::io::stdout())
    }

    /// Writes to this.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn to(output: impl Write + Send + 'static) -> std::io::Result<Self> {
        let (queue, lines) = channel();
        let shares = Arc::new(Shares::of(QUEUE));
        let dropped = Arc::new(AtomicU64::new(0));
        let (written, failed) = (Arc::clone(&shares), Arc::clone(&dropped));
        std::thread::Builder::new()
            .name("findings".to_owned())
            .spawn(move || write_lines(&lines, output, &written, &failed))?;
        Ok(Self {
            queue,
            shares,
            dropped,
        })
    }
}

impl Sink for Lines {
    fn emit(&self, finding: Finding) {
        let kind = Kind::of(&finding);
        let is_taken = self.shares.enter(kind) && {
            let mut line = finding.to_line();
            line.push('\n');
            self.queue.send((kind, line)).is_ok()
        };
        if !is_taken {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn flush(&self, limit: Duration) {
        self.shares.wait(limit);
    }
}

fn write_lines(
    lines: &Receiver<(Kind, String)>,
    mut output: impl Write,
    shares: &Shares,
    dropped: &AtomicU64,
) {
    while let Ok((kind, line)) = lines.recv() {
        // One write for each line: a reader never sees half of one from us.
        if output
            .write_all(line.as_bytes())
            .and_then(|()| output.flush())
            .is_err()
        {
            dropped.fetch_add(1, Ordering::Relaxed);
        }
        shares.leave(kind);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::ContainerSection;

    /// Passes on what is written, once it is let.
    struct Gate(Receiver<()>, Sender<Vec<u8>>);

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let _ = self.0.recv();
            self.1.send(bytes.to_vec()).map_err(std::io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_stalls_costs_counted_lines_and_no_time() {
        let (open, gate) = channel();
        let (written, seen) = channel();
        let sink = Lines::to(Gate(gate, written)).unwrap();
        let sent = QUEUE + 100;
        for _ in 0..sent {
            sink.emit(Finding::default());
        }
        assert!(sink.dropped() >= 99, "{} were dropped", sink.dropped());
        // There is room for what somebody else causes.
        let other = |name: &str| Finding {
            title: "of another".to_owned(),
            container: Some(ContainerSection {
                name: name.to_owned(),
                ..ContainerSection::default()
            }),
            ..Finding::default()
        };
        sink.emit(other("another container"));
        drop(open);
        sink.flush(Duration::from_secs(30));
        let lines: Vec<_> = seen.try_iter().collect();
        assert_eq!(lines.len() as u64 + sink.dropped(), sent as u64 + 1);
        let last = String::from_utf8_lossy(lines.last().unwrap());
        assert!(last.contains("of another"), "{last}");
    }

    #[test]
    fn a_line_is_one_json_object() {
        let (open, gate) = channel();
        drop(open);
        let (written, seen) = channel();
        let sink = Lines::to(Gate(gate, written)).unwrap();
        sink.emit(Finding {
            title: "a\nb".to_owned(),
            ..Finding::default()
        });
        let line = seen.recv_timeout(Duration::from_secs(30)).unwrap();
        let line = String::from_utf8(line).unwrap();
        assert_eq!(line.lines().count(), 1);
        let parsed: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(parsed["title"], "a\nb");
    }
}
