//! Events a second: through the pipeline alone, and through the server over its socket.
//!
//! `cargo bench -p picket-agent`. Events are opens that match nothing, in the proportions of a
//! busy web server's children; the rules are the built-in ones. Figures are for one machine at
//! one moment and are only good to compare with others taken at the same time.

use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use picket_agent::finding::Finding;
use picket_agent::identity::Identity;
use picket_agent::ingest::Ingest;
use picket_agent::pipeline::{Output, Pipeline};
use picket_agent::rulefiles::RuleFiles;
use picket_agent::server::{Options, Server, Socket};
use picket_events::wire::{Engine, FrameWriter, Hello, ToAgent, VERSION};
use picket_events::{Event, EventKind, File, Image, Interest, Outcome, Process};

/// Processes that share the events.
const PROCESSES: u32 = 50;

fn hello(container: &str) -> Hello {
    Hello {
        version: VERSION,
        container: container.to_owned(),
        engine: Engine::UserNotification,
        interest: Interest::everything().to_string(),
        started_at: 1,
        ..Hello::default()
    }
}

fn process(pid: u32) -> Process {
    let argv = ["python3", "-m", "app", "--port", "8080"]
        .map(String::from)
        .to_vec();
    let file = File {
        inode: 7,
        ..File::from_path("/usr/bin/python3")
    };
    Process {
        pid,
        parent: u32::from(pid > 1),
        started_at: u64::from(pid),
        executed_at: 1,
        image: Some(Image {
            file,
            argv,
            comm: "python3".to_owned(),
            ..Image::default()
        }),
        ..Process::default()
    }
}

fn event(sequence: u64) -> Event {
    let pid = 1 + (sequence % u64::from(PROCESSES)) as u32;
    let file = File {
        inode: sequence,
        mode: 0o100_644,
        filesystem: "overlay".into(),
        ..File::from_path(format!("/srv/app/cache/{:04x}.html", sequence % 5000))
    };
    Event {
        sequence,
        time: 1_000_000_000 + sequence * 1000,
        pid,
        tid: pid,
        outcome: Outcome::Succeeded,
        kind: EventKind::Open {
            file,
            flags: 0,
            mode: 0,
        },
    }
}

fn stream(container: &str, events: u64) -> Vec<u8> {
    let mut writer = FrameWriter::new();
    let mut push = |message| writer.push(&message).expect("it fits a frame");
    push(ToAgent::Hello(Box::new(hello(container))));
    for pid in 1..=PROCESSES {
        push(ToAgent::Process(Box::new(process(pid))));
    }
    for sequence in 1..=events {
        push(ToAgent::Event(Box::new(event(sequence))));
    }
    writer.take()
}

fn report(what: &str, events: u64, start: Instant) {
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{what}: {:.0} events/s ({events} in {seconds:.2} s)",
        events as f64 / seconds
    );
}

fn pipeline_alone(events: u64) {
    let bytes = stream("web", events);
    let mut pipeline = Pipeline::new(RuleFiles::default().load(), Identity::default());
    let mut outputs: Vec<Output> = Vec::new();
    let mut ingest = Ingest::new();
    let start = Instant::now();
    for chunk in bytes.chunks(64 * 1024) {
        ingest
            .feed(&mut pipeline, chunk, 0, &mut outputs)
            .expect("the stream is well-formed");
    }
    assert_eq!(pipeline.counters().events, events);
    let rules = pipeline.rules().rules().len();
    report(&format!("decode + tree + {rules} rules"), events, start);
}

fn through_the_server(connections: u64, events: u64) {
    let directory = std::env::temp_dir().join(format!("picket-bench-{}", std::process::id()));
    let path = directory.join("agent.sock");
    let streams: Vec<Vec<u8>> = (0..connections)
        .map(|number| stream(&format!("c{number}"), events))
        .collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime starts");
    runtime.block_on(async {
        let socket = Socket::bind(&path, 0o600).expect("the socket opens");
        let pipeline = Pipeline::new(RuleFiles::default().load(), Identity::default());
        let server = Server::start(
            socket,
            pipeline,
            Arc::new(|_: Finding| {}),
            Options::default(),
        );
        let start = Instant::now();
        let tracers: Vec<_> = streams
            .into_iter()
            .map(|bytes| {
                let path = path.clone();
                std::thread::spawn(move || {
                    let mut stream =
                        std::os::unix::net::UnixStream::connect(path).expect("the agent listens");
                    stream.write_all(&bytes).expect("the agent reads");
                })
            })
            .collect();
        let all = connections * events;
        while server.counters().await.events < all {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        report(
            &format!("server, {connections} connection(s), one thread"),
            all,
            start,
        );
        for tracer in tracers {
            tracer.join().expect("a tracer's thread ends");
        }
        server.shutdown().await;
    });
    // What is left is an empty directory in the temporary one.
    let _ = std::fs::remove_dir(&directory);
}

fn main() {
    // `cargo test --benches` runs this too, to see that it works.
    let full = std::env::args().any(|argument| argument == "--bench");
    let events = if full { 1_000_000 } else { 1_000 };
    pipeline_alone(events);
    through_the_server(1, events);
    through_the_server(4, events / 4);
}
