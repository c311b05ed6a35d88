//! An agent for tests: listens where a tracer connects, and remembers what it is told; and a
//! way to run programs under the tracer.
#![allow(dead_code, missing_docs, unreachable_pub)]

mod record;

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use picket_events::wire::{Environments, FrameReader, FrameWriter, Hello, ToAgent, ToTracer};

pub use record::Record;

/// Generous: the machine may be busy, or an emulated one (`scripts/guest.sh`).
pub const LIMIT: Duration = match option_env!("PICKET_SLOW") {
    Some(_) => Duration::from_secs(150),
    None => Duration::from_secs(60),
};

pub fn tracer() -> PathBuf {
    // On another machine (`scripts/guest.sh`) it lies elsewhere.
    let elsewhere = std::env::var_os("PICKET_TRACER").map(PathBuf::from);
    elsewhere.unwrap_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_picket-tracer")))
}

/// The engine that this suite is about: one that is named `…_ptrace` runs all under ptrace.
pub fn engine() -> &'static str {
    if env!("CARGO_CRATE_NAME").ends_with("_ptrace") {
        "ptrace"
    } else {
        "notification"
    }
}

/// Whether this suite, one that is named `…_interruptible`, has signals end any wait for an answer, as they
/// do before Linux 5.19.
pub fn is_interruptible() -> bool {
    env!("CARGO_CRATE_NAME").ends_with("_interruptible")
}

fn engine_flags() -> Vec<&'static str> {
    let mut flags = vec!["--engine", engine()];
    flags.extend(is_interruptible().then_some("--like-old-kernels"));
    flags
}

/// Whether an outcome says, as exactly as the engine can, that the call has succeeded.
pub fn is_seen(outcome: picket_events::Outcome) -> bool {
    match engine() {
        "ptrace" => matches!(outcome, picket_events::Outcome::Returned(0..)),
        _ => outcome == picket_events::Outcome::Succeeded,
    }
}

/// Whether this is Linux of a version, or a later one.
pub fn kernel_is_from(major: u32, minor: u32) -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split('.').map(|number| number.parse::<u32>());
    let (Some(Ok(of)), Some(Ok(version))) = (numbers.next(), numbers.next()) else {
        panic!("{release}");
    };
    (of, version) >= (major, minor)
}

/// A directory of its own for each test, removed at the end.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("picket-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        // Canonical, and open to whatever user a test runs programs as.
        let path = path.canonicalize().unwrap();
        set_mode(&path, 0o777);
        Self(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    pub fn script(&self, name: &str, body: &str) -> String {
        let path = self.path(name);
        std::fs::write(&path, body).unwrap();
        set_mode(&path, 0o755);
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// Tests that set up other users, capabilities or roots need to be root themselves.
pub fn need_root() {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let is_root = status.lines().any(|line| line.starts_with("Uid:\t0\t0"));
    assert!(
        is_root,
        "this test has to run as root: it starts programs as other users"
    );
}

/// Everything that one connection said.
#[derive(Debug, Clone, Default)]
pub struct Heard {
    pub hello: Option<Hello>,
    pub messages: Vec<ToAgent>,
}

/// The agent.
pub struct Agent {
    pub socket: PathBuf,
    heard: Arc<Mutex<Vec<Heard>>>,
    streams: Arc<Mutex<Vec<UnixStream>>>,
    stopped: Arc<std::sync::atomic::AtomicBool>,
    paused: Arc<std::sync::atomic::AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Agent {
    pub fn start(scratch: &Scratch) -> Self {
        Self::start_at(scratch.path("agent.sock"))
    }

    pub fn start_at(socket: PathBuf) -> Self {
        let _ = std::fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).unwrap();
        set_mode(&socket, 0o666);
        listener.set_nonblocking(true).unwrap();
        let heard: Arc<Mutex<Vec<Heard>>> = Arc::default();
        let streams: Arc<Mutex<Vec<UnixStream>>> = Arc::default();
        let stopped = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let paused = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let thread = std::thread::spawn({
            let (heard, streams, stopped, paused) = (
                heard.clone(),
                streams.clone(),
                stopped.clone(),
                paused.clone(),
            );
            move || {
                use std::sync::atomic::Ordering::Relaxed;
                let mut connections: Vec<(UnixStream, FrameReader, Environments)> = Vec::new();
                while !stopped.load(Relaxed) {
                    std::thread::sleep(Duration::from_millis(1));
                    if let Ok((stream, _)) = listener.accept() {
                        stream.set_nonblocking(true).unwrap();
                        streams.lock().unwrap().push(stream.try_clone().unwrap());
                        connections.push((stream, FrameReader::new(), Environments::default()));
                        heard.lock().unwrap().push(Heard::default());
                    }
                    if paused.load(Relaxed) {
                        continue;
                    }
                    for (at, (stream, reader, environments)) in connections.iter_mut().enumerate() {
                        let mut buffer = vec![0; 65536];
                        while let Ok(count @ 1..) = stream.read(&mut buffer) {
                            reader.feed(&buffer[..count]);
                            let mut heard = heard.lock().unwrap();
                            while let Some(frame) = reader.next_frame().unwrap() {
                                for message in frame.messages::<ToAgent>() {
                                    let complete = environments.complete(message.unwrap());
                                    let Some(message) = complete.unwrap() else {
                                        continue;
                                    };
                                    if let ToAgent::Hello(hello) = &message {
                                        heard[at].hello = Some((**hello).clone());
                                        answer(stream, &ToTracer::Welcome);
                                    }
                                    heard[at].messages.push(message);
                                }
                            }
                        }
                    }
                }
            }
        });
        Self {
            socket,
            heard,
            streams,
            stopped,
            paused,
            thread: Some(thread),
        }
    }

    /// Stops reading, as an agent that hangs does.
    pub fn pause(&self, paused: bool) {
        self.paused
            .store(paused, std::sync::atomic::Ordering::Relaxed);
    }

    /// Ends as one that is killed: what it has not read is gone with it. Gives what it has.
    pub fn kill(mut self) -> Record {
        self.stopped
            .store(true, std::sync::atomic::Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the agent understood everything");
        }
        self.streams.lock().unwrap().clear();
        Record(self.messages())
    }

    pub fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().clone()
    }

    pub fn messages(&self) -> Vec<ToAgent> {
        self.heard()
            .into_iter()
            .flat_map(|heard| heard.messages)
            .collect()
    }

    pub fn say(&self, message: &ToTracer) {
        for stream in self.streams.lock().unwrap().iter_mut() {
            answer(stream, message);
        }
    }

    /// Waits until something holds for what was heard.
    pub fn until(&self, what: &str, holds: impl Fn(&Record) -> bool) -> Record {
        let start = Instant::now();
        loop {
            let record = Record(self.messages());
            if holds(&record) {
                return record;
            }
            assert!(
                start.elapsed() < LIMIT,
                "waited for {what}; heard {:#?}",
                record.0
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for the goodbye and gives all that was said.
    pub fn finish(&self) -> Record {
        self.until("goodbye", |record| record.goodbye().is_some())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.stopped
            .store(true, std::sync::atomic::Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let result = thread.join();
            if !std::thread::panicking() {
                result.expect("the agent understood everything");
            }
        }
        for stream in self.streams.lock().unwrap().iter() {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }
}

fn answer(stream: &mut UnixStream, message: &ToTracer) {
    let mut writer = FrameWriter::new();
    writer.push(message).unwrap();
    let _ = stream.write_all(&writer.take());
}

/// A command under the tracer, told to `agent`.
pub fn traced(agent: &Agent, interest: &str, command: &[&str]) -> Command {
    let mut run = Command::new(tracer());
    run.arg("trace").args(engine_flags());
    run.arg("--socket").arg(&agent.socket);
    run.args(["--container", "test", "--interest", interest, "--"])
        .args(command);
    run.stdin(Stdio::null());
    run
}

/// A command under the tracer, told to nobody.
pub fn silent(command: &[&str]) -> Command {
    let mut run = Command::new(tracer());
    run.arg("trace").args(engine_flags());
    run.args(["--no-agent", "--"])
        .args(command)
        .stdin(Stdio::null());
    run
}

pub fn sh(script: &str) -> [&str; 3] {
    ["/bin/sh", "-c", script]
}

/// Runs to the end, within the limit.
pub fn output(command: &mut Command) -> Output {
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = child.id();
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(child.wait_with_output()));
    match receiver.recv_timeout(LIMIT) {
        Ok(output) => output.unwrap(),
        Err(_) => {
            let _ = Command::new("kill")
                .args(["-KILL", &pid.to_string()])
                .status();
            panic!("{command:?} hangs");
        }
    }
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A program that is killed, with its whole process group, when the test is done with it.
pub struct Running(Child);

pub fn start(command: &mut Command) -> Running {
    use std::os::unix::process::CommandExt;
    Running(command.process_group(0).spawn().unwrap())
}

impl std::ops::Deref for Running {
    type Target = Child;
    fn deref(&self) -> &Child {
        &self.0
    }
}

impl std::ops::DerefMut for Running {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let group = format!("-{}", self.0.id());
        let _ = Command::new("/bin/kill")
            .args(["-KILL", "--", &group])
            .stderr(Stdio::null())
            .status();
        let _ = self.0.wait();
    }
}

/// The worker below a tracer.
pub fn worker_of(keeper: u32) -> Option<u32> {
    let path = format!("/proc/{keeper}/task/{keeper}/children");
    let children = std::fs::read_to_string(path).unwrap_or_default();
    let pids = children.split_whitespace();
    pids.filter_map(|pid| pid.parse().ok()).find(|pid: &u32| {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        name == "picket-tracer\n"
    })
}

/// Waits for a child, within the limit.
pub fn wait(child: &mut Child) -> ExitStatus {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if start.elapsed() > LIMIT {
            let _ = child.kill();
            panic!("child hangs");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until something holds.
pub fn eventually(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < LIMIT, "waited for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Runs a shell script traced and gives all that was said about it.
pub fn record(name: &str, interest: &str, script: impl Fn(&Scratch) -> String) -> Record {
    let scratch = Scratch::new(name);
    let agent = Agent::start(&scratch);
    let script = script(&scratch);
    let output = output(&mut traced(&agent, interest, &sh(&script)));
    assert!(
        output.status.success(),
        "{script}: {:?} {}",
        output.status,
        stderr(&output)
    );
    agent.finish()
}

/// Builds a C program.
pub fn build(scratch: &Scratch, name: &str, flags: &[&str], source: &str) -> String {
    let file = scratch.path(&format!("{name}.c"));
    std::fs::write(&file, source).unwrap();
    let program = scratch.text(name);
    let output = Command::new("cc")
        .args(["-Wall", "-pthread", "-o", &program])
        .arg(&file)
        .args(flags)
        .output()
        .expect("a C compiler");
    assert!(output.status.success(), "{}", stderr(&output));
    program
}
