//! Findings on the operator's standard output, where cluster-wide log collection finds them.

use std::io::Write;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};

use super::super::metrics::RelayMetrics;
use super::{ClusterFinding, Output};

/// Most lines that wait to be written.
const WAITING: usize = 4096;

/// Writes a line of JSON for each finding, from a thread of its own: a reader that stalls costs
/// counted lines, and no time.
#[derive(Debug)]
pub struct Lines {
    queue: SyncSender<Arc<ClusterFinding>>,
    metrics: RelayMetrics,
}

impl Lines {
    /// Writes to `output`.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn to(
        mut output: impl Write + Send + 'static,
        metrics: RelayMetrics,
    ) -> std::io::Result<Self> {
        let (queue, findings) = sync_channel::<Arc<ClusterFinding>>(WAITING);
        let counts = metrics.clone();
        std::thread::Builder::new()
            .name("findings".to_owned())
            .spawn(move || {
                while let Ok(finding) = findings.recv() {
                    let mut line = finding.to_line();
                    line.push('\n');
                    let written = output
                        .write_all(line.as_bytes())
                        .and_then(|()| output.flush());
                    let result = match written {
                        Ok(()) => "written",
                        Err(_) => "not_written",
                    };
                    counts.findings(result, 1);
                }
            })?;
        Ok(Self { queue, metrics })
    }
}

impl Output for Lines {
    fn take(&self, finding: &Arc<ClusterFinding>) {
        if self.queue.try_send(Arc::clone(finding)).is_err() {
            self.metrics.findings("not_written", 1);
        }
    }
}
