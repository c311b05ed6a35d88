//! The Unix socket that tracers speak to.
//!
//! Every connection has a task that reads into one buffer, takes its turn at the pipeline
//! with what it read, and reads again: turns are taken in order, so a connection with many
//! events waits like any other, and a connection holds no more memory than its buffer and one
//! incomplete frame.

mod connection;
mod greeting;
mod incoming;
mod socket;

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use picket_events::deny::DenyRule;
use tokio::net::UnixStream;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use crate::closer::Closer;
use crate::open_connections::OpenConnections;
use crate::pipeline::{Counters, LoadedRules, Output, Outputs, Pipeline};
use crate::sink::Sink;
use greeting::Greetings;
pub use socket::{Socket, SocketError};

/// How often a server that shuts down looks whether somebody is still there.
const TURN: Duration = Duration::from_millis(5);
/// How long the last lines may take to be written.
const FLUSH: Duration = Duration::from_secs(2);

/// Limits and intervals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Most connections at a time.
    pub connections: usize,
    /// Most connections that have not said hello; one more pushes the oldest out.
    pub greetings: usize,
    /// How long a hello may take.
    pub hello_timeout: Duration,
    /// How long the last events are waited for at shutdown.
    pub drain: Duration,
    /// How long the server is without connections before it believes, when it shuts down,
    /// that nobody comes any more.
    pub settle: Duration,
    /// Time between heartbeats; zero for none.
    pub heartbeat: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connections: 128,
            greetings: 32,
            hello_timeout: Duration::from_secs(5),
            drain: Duration::from_secs(20),
            settle: Duration::from_millis(200),
            heartbeat: Duration::from_secs(300),
        }
    }
}

/// What the tasks of a server share.
pub(crate) struct Shared {
    pipeline: Mutex<Pipeline>,
    sink: Arc<dyn Sink>,
    options: Options,
    greetings: Greetings,
    closer: Closer,
    active: AtomicUsize,
    /// True once everything has to end.
    ended: watch::Sender<bool>,
    /// What tracers were told last of the network.
    quarantine: watch::Sender<bool>,
    /// What tracers were told last to refuse, where that has changed.
    denials: watch::Sender<Vec<DenyRule>>,
    /// Patterns of the files that the rules in use have tracers watch.
    watched: watch::Sender<Vec<String>>,
    /// Whether the operator has ordered that.
    ordered: AtomicBool,
}

impl Shared {
    /// The pipeline's status, if its turn comes in time.
    pub(crate) async fn status(&self, limit: Duration) -> Option<serde_json::Value> {
        let pipeline = timeout(limit, self.pipeline.lock()).await.ok()?;
        Some(pipeline.status(now()))
    }
}

/// Lists what is open each time that the pod is cut off.
async fn list_what_stays_open(shared: Arc<Shared>, mut cut_off: watch::Receiver<bool>) {
    let mut ended = shared.ended.subscribe();
    loop {
        tokio::select! {
            _ = cut_off.changed() => {}
            _ = ended.wait_for(|ended| *ended) => return,
        }
        if !*cut_off.borrow_and_update() {
            continue;
        }
        // Tables of a busy pod are long.
        let Ok(open) = tokio::task::spawn_blocking(OpenConnections::read).await else {
            continue;
        };
        let mut pipeline = shared.pipeline.lock().await;
        pipeline.open_connections(&open, now(), &mut Findings(&*shared.sink));
    }
}

/// Writes findings at once, and has nobody to send messages to.
struct Findings<'a>(&'a dyn Sink);

impl Outputs for Findings<'_> {
    fn push(&mut self, output: Output) {
        match output {
            Output::Finding(finding) => self.0.emit(*finding),
            // Only a connection's own messages are answered, and only its events cut the pod
            // off, but for what `Server` passes on itself.
            Output::Message(..) | Output::Quarantine(_) | Output::Deny(_) => {}
        }
    }
}

/// A running server.
pub struct Server {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("options", &self.shared.options)
            .finish_non_exhaustive()
    }
}

impl Server {
    /// Starts to serve. The first finding is `ruleset_loaded`. Must be called within a tokio
    /// runtime.
    pub fn start(
        socket: Socket,
        mut pipeline: Pipeline,
        sink: Arc<dyn Sink>,
        options: Options,
    ) -> Self {
        pipeline.start(now(), &mut Findings(&*sink));
        let shared = Arc::new(Shared {
            pipeline: Mutex::new(pipeline),
            sink,
            options,
            greetings: Greetings::new(options.greetings),
            closer: Closer::new(),
            active: AtomicUsize::new(0),
            ended: watch::Sender::new(false),
            quarantine: watch::Sender::new(false),
            denials: watch::Sender::new(Vec::new()),
            watched: watch::Sender::default(),
            ordered: AtomicBool::new(false),
        });
        let cut_off = shared.quarantine.subscribe();
        let tasks = vec![
            tokio::spawn(accept(Arc::clone(&shared), socket)),
            tokio::spawn(tick(Arc::clone(&shared))),
            tokio::spawn(list_what_stays_open(Arc::clone(&shared), cut_off)),
        ];
        Self { shared, tasks }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Counts since the start.
    pub async fn counters(&self) -> Counters {
        self.shared.pipeline.lock().await.counters()
    }

    /// Number of connections.
    pub fn connections(&self) -> usize {
        self.shared.active.load(Ordering::Relaxed)
    }

    /// Takes other rules into use between two events.
    pub async fn replace_rules(&self, loaded: LoadedRules) {
        let watched = loaded.rules.watched_files();
        let mut outputs = Vec::new();
        let mut pipeline = self.shared.pipeline.lock().await;
        pipeline.replace_rules(loaded, now(), &mut outputs);
        self.pass_on(outputs);
        // Under the lock: who is welcomed later is told of these rules' files then.
        self.shared.watched.send_replace(watched);
    }

    /// What the relay is told.
    pub async fn report(&self) -> picket_events::relay::Heartbeat {
        self.shared.pipeline.lock().await.relay_report(now())
    }

    /// Writes a sample of each finding type that the rules can give.
    pub async fn emit_samples(&self) {
        let samples = self.shared.pipeline.lock().await.samples(now());
        for sample in samples {
            self.shared.sink.emit(sample);
        }
    }

    /// Cuts the pod off because the operator says so, or, with `None`, lets it go again if that
    /// was why: what a rule has cut off stays so.
    pub async fn order_quarantine(&self, reason: Option<&str>) {
        let before = self
            .shared
            .ordered
            .swap(reason.is_some(), Ordering::Relaxed);
        match (before, reason) {
            (_, Some(reason)) => self.quarantine(true, reason).await,
            (true, None) => self.quarantine(false, "the order was taken back").await,
            (false, None) => {}
        }
    }

    /// Cuts the pod off from the network, or lets it go again; `reason` is who asked for it.
    pub async fn quarantine(&self, on: bool, reason: &str) {
        let mut outputs = Vec::new();
        let mut pipeline = self.shared.pipeline.lock().await;
        pipeline.quarantine(on, reason, now(), &mut outputs);
        self.pass_on(outputs);
    }

    /// Tells all tracers what all are to be told, and writes findings.
    fn pass_on(&self, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Quarantine(on) => drop(self.shared.quarantine.send_replace(on)),
                Output::Deny(rules) => drop(self.shared.denials.send_replace(rules)),
                other => Findings(&*self.shared.sink).push(other),
            }
        }
    }

    /// Serves on until every tracer is gone, but no longer than [`Options::drain`]; then ends,
    /// writes what is still to be written, and gives back the final counts.
    pub async fn shutdown(self) -> Counters {
        let deadline = Instant::now() + self.shared.options.drain;
        // Counted in turns of this loop, not in time: where a busy machine does not let us run,
        // time passes in which nobody could be accepted.
        let turns = self.shared.options.settle.as_millis() / TURN.as_millis();
        let mut quiet = 0;
        while Instant::now() < deadline && quiet <= turns {
            sleep(TURN).await;
            quiet = if self.connections() > 0 { 0 } else { quiet + 1 };
        }
        let cut_off = self.connections();
        if cut_off > 0 {
            // Nobody else would tell: to the pipeline this looks like a tracer that has ended.
            let seconds = self.shared.options.drain.as_secs();
            tracing::warn!(
                cut_off,
                seconds,
                "the time to drain is over, tracers are cut off"
            );
        }
        self.shared.ended.send_replace(true);
        for task in self.tasks {
            // A task that panicked has nothing left to be waited for.
            let _ = task.await;
        }
        // Connections see the same signal; they are given a moment to close.
        let closing = Instant::now() + Duration::from_secs(1);
        while self.shared.active.load(Ordering::Relaxed) > 0 && Instant::now() < closing {
            sleep(TURN).await;
        }
        let sink = Arc::clone(&self.shared.sink);
        let mut pipeline = self.shared.pipeline.lock().await;
        pipeline.finish(now(), &mut Findings(&*sink));
        pipeline.tick(sink.dropped(), now(), &mut Findings(&*sink));
        let mut counters = pipeline.counters();
        counters.cut_off = u64::try_from(cut_off).unwrap_or(u64::MAX);
        drop(pipeline);
        let flushed = tokio::task::spawn_blocking(move || sink.flush(FLUSH));
        let _ = flushed.await;
        counters
    }
}

/// Now, nanoseconds since the epoch; 0 on a clock before it.
pub fn now() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

async fn accept(shared: Arc<Shared>, socket: Socket) {
    let mut ended = shared.ended.subscribe();
    loop {
        let accepted = tokio::select! {
            accepted = accept_next(&shared, &socket) => accepted,
            _ = ended.wait_for(|ended| *ended) => break,
        };
        match accepted {
            Ok(stream) => connection::spawn(&shared, stream),
            Err(error) => {
                // Out of descriptors, most likely: those in use have to go first.
                tracing::warn!(%error, "accept failed");
                sleep(Duration::from_millis(50)).await;
            }
        }
    }
    // Whoever was not accepted any more may have sent descriptors, too.
    let last = socket.listener.as_fd().try_clone_to_owned();
    drop(socket);
    shared.closer.close_strange(last.into_iter().collect());
}

/// Whoever has descriptors closed that take their time gets no more of ours than there are
/// connections.
async fn accept_next(shared: &Shared, socket: &Socket) -> std::io::Result<UnixStream> {
    let mut is_told = false;
    while shared.closer.waiting() >= shared.options.connections {
        if !std::mem::replace(&mut is_told, true) {
            tracing::warn!(
                "descriptors that were sent here take long to close, nobody is accepted"
            );
        }
        sleep(Duration::from_millis(50)).await;
    }
    let (stream, _) = socket.listener.accept().await?;
    Ok(stream)
}

/// Reports losses every second, and that we are alive from time to time.
async fn tick(shared: Arc<Shared>) {
    let mut ended = shared.ended.subscribe();
    let mut seconds = interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last_heartbeat = Instant::now();
    loop {
        tokio::select! {
            _ = seconds.tick() => {}
            _ = ended.wait_for(|ended| *ended) => return,
        }
        let mut pipeline = shared.pipeline.lock().await;
        let mut outputs = Findings(&*shared.sink);
        pipeline.tick(shared.sink.dropped(), now(), &mut outputs);
        let heartbeat = shared.options.heartbeat;
        if !heartbeat.is_zero() && last_heartbeat.elapsed() >= heartbeat {
            last_heartbeat = Instant::now();
            pipeline.heartbeat(now(), &mut outputs);
        }
    }
}
