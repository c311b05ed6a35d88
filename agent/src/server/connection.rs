//! One tracer's connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use picket_events::deny::DenyRule;
use picket_events::wire::{FrameWriter, Refusal, ToTracer};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout, timeout_at};

use super::incoming::{Came, Incoming};
use super::{Findings, Shared, now};
use crate::ingest::Ingest;
use crate::pipeline::{Output, Outputs, Violation};

/// Messages to a tracer that may wait to be sent.
const QUEUE: usize = 256;
/// How long a tracer may take to read a message.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// Serves a connection in a task of its own, or refuses it when there are too many.
pub(super) fn spawn(shared: &Arc<Shared>, stream: UnixStream) {
    let shared = Arc::clone(shared);
    let active = shared.active.fetch_add(1, Ordering::Relaxed);
    tokio::spawn(async move {
        let _active = Active(&shared.active);
        if active < shared.options.connections {
            serve(&shared, stream).await;
        } else {
            refuse(&shared, stream).await;
        }
    });
}

/// Counts a connection as long as it lives, even if its task is aborted.
struct Active<'a>(&'a AtomicUsize);

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Findings to the sink, messages to the tracer.
struct Delivery<'a> {
    findings: Findings<'a>,
    quarantine: &'a watch::Sender<bool>,
    messages: &'a mpsc::Sender<ToTracer>,
}

impl Outputs for Delivery<'_> {
    fn push(&mut self, output: Output) {
        match output {
            Output::Message(_, message) => {
                if self.messages.try_send(message).is_err() {
                    tracing::warn!("a tracer does not read what it is told; message dropped");
                }
            }
            Output::Quarantine(on) => drop(self.quarantine.send_replace(on)),
            // Only a change of rules gives it, which no message of a tracer does.
            Output::Deny(_) => {}
            finding => self.findings.push(finding),
        }
    }
}

async fn refuse(shared: &Shared, mut stream: UnixStream) {
    let violation = Violation::Refused(Refusal::TooMany);
    shared
        .pipeline
        .lock()
        .await
        .violation(violation, now(), &mut Findings(&*shared.sink));
    // It is closed either way.
    let _ = timeout(
        WRITE_TIMEOUT,
        send(&mut stream, &ToTracer::Refused(Refusal::TooMany)),
    )
    .await;
    shared.closer.end(stream);
}

async fn serve(shared: &Shared, stream: UnixStream) {
    let (reader, writer) = stream.into_split();
    let mut incoming = Incoming::new(&shared.closer, reader);
    let (messages, queue) = mpsc::channel(QUEUE);
    let quarantine = shared.quarantine.subscribe();
    let denials = shared.denials.subscribe();
    let watched = shared.watched.subscribe();
    let changes = (quarantine, denials, watched);
    let writing = tokio::spawn(write_messages(writer, queue, changes));
    let mut delivery = Delivery {
        findings: Findings(&*shared.sink),
        quarantine: &shared.quarantine,
        messages: &messages,
    };
    let mut ingest = Ingest::new();
    let mut result = greet(shared, &mut incoming, &mut ingest, &mut delivery).await;
    let mut ended = shared.ended.subscribe();
    while result.is_ok() {
        // What has come goes first, at the end too.
        let came = tokio::select! {
            biased;
            came = incoming.read() => came,
            _ = ended.wait_for(|ended| *ended) => break,
        };
        if came == Came::End {
            break;
        }
        result = take_in(shared, &mut incoming, came, &mut ingest, &mut delivery).await;
    }
    if let Err(Violation::Refused(refusal)) = result {
        delivery.push_message(ToTracer::Refused(refusal));
    }
    ingest.close(&mut *shared.pipeline.lock().await, now(), &mut delivery);
    drop(messages);
    // It ends by itself: nobody can send it anything more.
    incoming.end(writing.await.ok());
}

impl Delivery<'_> {
    fn push_message(&mut self, message: ToTracer) {
        // A tracer that does not read its refusal sees the connection end.
        let _ = self.messages.try_send(message);
    }
}

/// Deals with what has come, and then takes it out of the socket.
async fn take_in(
    shared: &Shared,
    incoming: &mut Incoming<'_>,
    came: Came,
    ingest: &mut Ingest,
    delivery: &mut Delivery<'_>,
) -> Result<(), Violation> {
    let mut pipeline = shared.pipeline.lock().await;
    let taken = match came {
        Came::Bytes(length) => {
            let result = ingest.feed(&mut pipeline, incoming.bytes(length), now(), delivery);
            let taken = incoming.dealt_with(length);
            result?;
            taken
        }
        Came::End => Ok(()),
        Came::Strange => Err(Violation::Descriptors),
    };
    taken.inspect_err(|violation| pipeline.violation(*violation, now(), delivery))
}

/// Reads until the hello was accepted, the time is over, or somebody else needs the place.
async fn greet(
    shared: &Shared,
    incoming: &mut Incoming<'_>,
    ingest: &mut Ingest,
    delivery: &mut Delivery<'_>,
) -> Result<(), Violation> {
    let place = shared.greetings.enter();
    let deadline = Instant::now() + shared.options.hello_timeout;
    while ingest.connection().is_none() {
        let came = tokio::select! {
            came = timeout_at(deadline, incoming.read()) => came.ok(),
            () = place.pushed_out() => None,
        };
        match came {
            // It came and went: a probe, or a tracer that was killed.
            Some(Came::End) => return Err(Violation::NoHello),
            Some(came) => take_in(shared, incoming, came, ingest, delivery).await?,
            None => {
                let mut pipeline = shared.pipeline.lock().await;
                pipeline.violation(Violation::HelloTimeout, now(), delivery);
                return Err(Violation::HelloTimeout);
            }
        }
    }
    Ok(())
}

/// What all tracers are told when it has changed.
type Changes = (
    watch::Receiver<bool>,
    watch::Receiver<Vec<DenyRule>>,
    watch::Receiver<Vec<String>>,
);

async fn write_messages(
    mut writer: OwnedWriteHalf,
    mut queue: mpsc::Receiver<ToTracer>,
    (mut quarantine, mut denials, mut watched): Changes,
) -> OwnedWriteHalf {
    loop {
        let message = tokio::select! {
            // What this tracer was told when it came was true before what has changed since.
            biased;
            message = queue.recv() => message,
            Ok(()) = quarantine.changed() => {
                Some(ToTracer::Quarantine(*quarantine.borrow_and_update()))
            }
            Ok(()) = denials.changed() => {
                Some(ToTracer::Deny(denials.borrow_and_update().clone()))
            }
            Ok(()) = watched.changed() => {
                Some(ToTracer::WatchReads(watched.borrow_and_update().clone()))
            }
        };
        let Some(message) = message else {
            return writer;
        };
        if !matches!(
            timeout(WRITE_TIMEOUT, send(&mut writer, &message)).await,
            Ok(Ok(()))
        ) {
            return writer;
        }
    }
}

async fn send(
    writer: &mut (impl AsyncWriteExt + Unpin),
    message: &ToTracer,
) -> std::io::Result<()> {
    let mut frame = FrameWriter::new();
    frame.push(message).map_err(std::io::Error::other)?;
    writer.write_all(&frame.take()).await
}
