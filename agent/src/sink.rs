//! Where findings go.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::finding::Finding;

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

/// How many lines were taken but not written.
#[derive(Debug, Default)]
struct Pending {
    lines: Mutex<usize>,
    done: Condvar,
}

impl Pending {
    fn change(&self, change: impl FnOnce(&mut usize)) {
        change(&mut self.lines.lock().unwrap_or_else(PoisonError::into_inner));
        self.done.notify_all();
    }

    fn wait(&self, limit: Duration) {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        // Whether it is done or the time is over makes no difference to the caller.
        let _ = self
            .done
            .wait_timeout_while(lines, limit, |lines| *lines > 0);
    }
}

/// Writes a line of JSON for each finding, from a thread of its own: when nobody reads, 1024
/// lines wait, and further ones are dropped and counted.
#[derive(Debug)]
pub struct Lines {
    queue: SyncSender<String>,
    pending: Arc<Pending>,
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
        let (queue, lines) = sync_channel(QUEUE);
        let pending = Arc::new(Pending::default());
        let dropped = Arc::new(AtomicU64::new(0));
        let (written, failed) = (Arc::clone(&pending), Arc::clone(&dropped));
        std::thread::Builder::new()
            .name("findings".to_owned())
            .spawn(move || write_lines(&lines, output, &written, &failed))?;
        Ok(Self {
            queue,
            pending,
            dropped,
        })
    }
}

impl Sink for Lines {
    fn emit(&self, finding: Finding) {
        let mut line = finding.to_line();
        line.push('\n');
        self.pending.change(|lines| *lines += 1);
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) =
            self.queue.try_send(line)
        {
            self.pending.change(|lines| *lines -= 1);
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn flush(&self, limit: Duration) {
        self.pending.wait(limit);
    }
}

fn write_lines(
    lines: &Receiver<String>,
    mut output: impl Write,
    pending: &Pending,
    dropped: &AtomicU64,
) {
    while let Ok(line) = lines.recv() {
        // One write for each line: a reader never sees half of one from us.
        if output
            .write_all(line.as_bytes())
            .and_then(|()| output.flush())
            .is_err()
        {
            dropped.fetch_add(1, Ordering::Relaxed);
        }
        pending.change(|lines| *lines -= 1);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use super::*;

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
        drop(open);
        sink.flush(Duration::from_secs(30));
        let lines = seen.try_iter().count();
        assert_eq!(lines as u64 + sink.dropped(), sent as u64);
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
