//! Reads of secret files by programs that open files as most do, which the filter lets pass.
#![allow(missing_docs)]

#[path = "reads/replaced.rs"]
mod replaced;
mod support;
#[path = "reads/unwatched.rs"]
mod unwatched;

use picket_events::wire::ToTracer;
use picket_events::{Event, EventKind, EventType, Image, Outcome};
use support::*;

/// Stops for writes and for reads without flags, as the default rules ask for.
const INTEREST: &str = "exec,open:plain";

/// Reads a file quietly (`O_NONBLOCK`) and holds it until somebody reads the pipe.
const HOLD: &str =
    "dd if=\"$1\" iflag=nonblock of=pipe 2>/dev/null & sleep 0.05; cat pipe >/dev/null; wait";

fn reads<'a>(record: &'a Record, path: &str) -> Vec<&'a Event> {
    let opens = record.of(EventType::Open).into_iter();
    opens
        .filter(|event| event.kind.file().is_some_and(|file| file.path == path))
        .collect()
}

/// Those of them that were made with `O_NOCTTY` and seen by stopping for them. A watched file's may
/// be told a second time, where the machine is slow, by watching it: then the flags are not known.
fn stopped_for<'a>(record: &'a Record, path: &str) -> Vec<&'a Event> {
    let is_it = |event: &&Event| {
        matches!(&event.kind, EventKind::Open { flags, .. }
            if *flags == libc::O_NOCTTY as u32)
    };
    reads(record, path).into_iter().filter(is_it).collect()
}

/// Whether an event is about a process that runs a program of this name.
fn is_by(record: &Record, event: &Event, name: &str) -> bool {
    record
        .images()
        .iter()
        .any(|(exec, image)| exec.pid == event.pid && image.file.name == name)
}

/// Waits until files are watched: `proof` is read again and again until its reads are told.
fn watched(agent: &Agent, proof: &str) {
    agent.until("a read that is watched", |record| {
        !reads(record, proof).is_empty()
    });
}

fn watch(agent: &Agent, patterns: &[String]) {
    agent.until("the greeting", |record| !record.0.is_empty());
    agent.say(&ToTracer::WatchReads(patterns.to_vec()));
}

#[test]
fn a_quiet_read_is_told_with_the_process_that_has_the_file_open() {
    let scratch = Scratch::new("reads-held");
    let (secret, later) = (scratch.text("secret"), scratch.text("inner/later"));
    std::fs::write(&secret, "x").unwrap();
    let agent = Agent::start(&scratch);
    let script = format!(
        "cd {}; mkfifo pipe
        hold() {{ {HOLD}; }}
        until [ -e first ]; do hold secret; done
        mkdir inner; echo x >inner/later
        until [ -e second ]; do hold inner/later; done",
        scratch.text("")
    );
    let mut child = start(&mut traced(&agent, INTEREST, &sh(&script)));
    watch(&agent, &[secret.clone(), scratch.text("inner/*")]);
    for (path, done) in [(&secret, "first"), (&later, "second")] {
        let record = agent.until("the read by dd", |record| {
            let mut reads = reads(record, path).into_iter();
            reads.any(|event| is_by(record, event, "dd"))
        });
        for event in reads(&record, path) {
            let EventKind::Open { file, flags, .. } = &event.kind else {
                panic!("an open");
            };
            if is_by(&record, event, "dd") {
                assert_eq!((*flags, event.outcome), (0, Outcome::Succeeded));
                assert!(file.inode != 0 && file.mode & libc::S_IFMT == libc::S_IFREG);
            }
        }
        std::fs::write(scratch.path(done), "").unwrap();
    }
    assert!(wait(&mut child).success());
    agent.finish();
}

#[test]
fn a_read_whose_program_is_gone_is_told_of_nobody_and_not_of_somebody_else() {
    let scratch = Scratch::new("reads-gone");
    let secret = scratch.text("secret");
    std::fs::write(&secret, "x").unwrap();
    let agent = Agent::start(&scratch);
    let script = format!(
        "cd {}; until [ -e done ]; do dd if=secret iflag=nonblock of=/dev/null 2>/dev/null; done",
        scratch.text("")
    );
    let mut child = start(&mut traced(&agent, INTEREST, &sh(&script)));
    watch(&agent, std::slice::from_ref(&secret));
    agent.until("twenty reads", |record| reads(record, &secret).len() >= 20);
    std::fs::write(scratch.path("done"), "").unwrap();
    assert!(wait(&mut child).success());
    let record = agent.finish();
    for event in reads(&record, &secret) {
        assert!(event.pid == 0 || is_by(&record, event, "dd"), "{event:?}");
    }
}

#[test]
fn a_read_that_the_filter_stops_for_is_told_once() {
    let scratch = Scratch::new("reads-once");
    let (secret, proof) = (scratch.text("secret"), scratch.text("proof"));
    for file in [&secret, &proof] {
        std::fs::write(file, "x").unwrap();
    }
    let agent = Agent::start(&scratch);
    let script = format!(
        "cd {}; mkfifo pipe
        hold() {{ {HOLD}; }}
        until [ -e first ]; do hold proof; done
        cat secret >/dev/null
        until [ -e second ]; do hold proof; done",
        scratch.text("")
    );
    let mut child = start(&mut traced(&agent, INTEREST, &sh(&script)));
    watch(&agent, &[secret.clone(), proof.clone()]);
    // Watches are there, and after the read as well.
    for done in ["first", "second"] {
        let before = reads(&Record(agent.messages()), &proof).len();
        agent.until("a read that is watched", |record| {
            reads(record, &proof).len() > before
        });
        std::fs::write(scratch.path(done), "").unwrap();
    }
    assert!(wait(&mut child).success());
    let record = agent.finish();
    let by = record.about(EventType::Open, &secret);
    assert!(is_by(&record, by, "cat"), "{by:?}");
}

#[test]
fn where_the_filter_stops_for_every_read_nothing_is_told_twice() {
    let scratch = Scratch::new("reads-all");
    let secret = scratch.text("secret");
    std::fs::write(&secret, "x").unwrap();
    let agent = Agent::start(&scratch);
    let script = format!(
        "cd {}; until [ -e go ]; do /bin/true; done; dd if=secret iflag=nonblock of=/dev/null",
        scratch.text("")
    );
    let mut child = start(&mut traced(&agent, "exec,open", &sh(&script)));
    watch(&agent, std::slice::from_ref(&secret));
    std::fs::write(scratch.path("go"), "").unwrap();
    assert!(wait(&mut child).success());
    let record = agent.finish();
    assert!(is_by(&record, record.about(EventType::Open, &secret), "dd"));
}

#[test]
fn grep_is_told_as_the_reader_of_what_it_was_started_for_and_of_nothing_else() {
    const TIMES: usize = 20;
    let scratch = Scratch::new("reads-grep");
    let (secret, proof) = (scratch.text("secret"), scratch.text("proof"));
    for file in [&secret, &proof] {
        std::fs::write(file, "x\n").unwrap();
    }
    std::os::unix::fs::symlink("secret", scratch.path("link")).unwrap();
    let agent = Agent::start(&scratch);
    let script = format!(
        "cd {}
        until [ -e go ]; do dd if=proof iflag=nonblock of=/dev/null 2>/dev/null; done
        for i in $(seq {TIMES}); do
            cat secret; grep x secret; grep -c x ./link; timeout 600 grep x secret
        done",
        scratch.text("")
    );
    let mut child = start(&mut traced(&agent, INTEREST, &sh(&script)));
    watch(&agent, &[secret.clone(), proof.clone()]);
    watched(&agent, &proof);
    std::fs::write(scratch.path("go"), "").unwrap();
    assert!(wait(&mut child).success());
    let record = agent.finish();
    let all = reads(&record, &secret);
    let by = |name: &str| all.iter().filter(|read| is_by(&record, read, name)).count();
    assert_eq!(by("cat"), TIMES);
    // One that takes long to come to its read may be told of nobody; that is rare, and it is never
    // laid on somebody else.
    let greps = by("grep");
    assert!(greps >= 3 * TIMES * 8 / 10, "{greps}: {all:?}");
    let of_nobody = all.iter().filter(|read| read.pid == 0).count();
    assert_eq!(all.len(), TIMES + greps + of_nobody, "{all:?}");
    assert!(greps + of_nobody >= 3 * TIMES * 9 / 10, "{all:?}");
}

#[test]
fn a_read_is_laid_on_nobody_where_several_were_started_for_the_file() {
    let scratch = Scratch::new("reads-several");
    let (secret, proof) = (scratch.text("secret"), scratch.text("proof"));
    for file in [&secret, &proof] {
        std::fs::write(file, "x").unwrap();
    }
    let agent = Agent::start(&scratch);
    // Two name the file and only wait; the reader names it as well, and has often closed it by the
    // time that it is looked for.
    let script = format!(
        "cd {}; mkfifo pipe
        until [ -e go ]; do dd if=proof iflag=nonblock of=/dev/null 2>/dev/null; done
        for i in $(seq 20); do
            sh -c 'read line <pipe' waits secret & one=$!
            sh -c 'read line <pipe' waits secret & other=$!
            dd if=secret iflag=nonblock of=/dev/null 2>/dev/null
            kill $one $other; wait
        done; true",
        scratch.text("")
    );
    let mut child = start(&mut traced(&agent, INTEREST, &sh(&script)));
    watch(&agent, &[secret.clone(), proof.clone()]);
    watched(&agent, &proof);
    std::fs::write(scratch.path("go"), "").unwrap();
    assert!(wait(&mut child).success());
    let record = agent.finish();
    let waits =
        |(_, image): &(&Event, &Image)| image.argv.get(3).is_some_and(|word| word == "waits");
    let waiting: Vec<_> = record.images().into_iter().filter(waits).collect();
    // On a busy machine some are killed before they have started.
    assert!(!waiting.is_empty());
    let told = reads(&record, &secret);
    assert!(!told.is_empty());
    for event in told {
        // On a machine that takes its time, only one of the two may be of the last second.
        let is_alone = |(start, _): &(&Event, &Image)| {
            let mut both = waiting.iter().filter(|(other, _)| other.time <= event.time);
            let other = both.rfind(|(other, _)| other.pid != start.pid);
            start.pid == event.pid
                && other.is_none_or(|(other, _)| event.time - other.time > 900_000_000)
        };
        let is_right = event.pid == 0 || is_by(&record, event, "dd");
        assert!(is_right || waiting.iter().any(is_alone), "{event:?}");
    }
}

#[test]
fn what_the_agent_has_written_down_is_watched_before_the_program_runs() {
    let scratch = Scratch::new("reads-first");
    let (secret, other) = (scratch.text("secret"), scratch.text("other"));
    for file in [&secret, &other] {
        std::fs::write(file, "x\n").unwrap();
    }
    std::fs::write(scratch.path("watched"), format!("no path\n{secret}\n")).unwrap();
    // It says nothing of files by itself.
    let agent = Agent::start(&scratch);
    let command = ["/bin/grep", "x", &secret, &other];
    output(&mut traced(&agent, INTEREST, &command));
    let record = agent.finish();
    let [read] = &reads(&record, &secret)[..] else {
        panic!("one read")
    };
    assert!(read.pid == 0 || is_by(&record, read, "grep"), "{read:?}");
    assert!(
        reads(&record, &other).is_empty(),
        "the filter passes it over"
    );
}

/// A handle says nothing of a path, and the descriptor is closed at once.
#[test]
fn a_secret_that_is_opened_by_its_handle_is_told_by_its_path() {
    const PROGRAM: &str = r#"
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
handle = ctypes.create_string_buffer(struct.pack("<Ii", 128, 0) + bytes(128))
assert libc.name_to_handle_at(-100, b"secret", handle, ctypes.byref(ctypes.c_int()), 0) == 0
for mount in (-100, os.open(".", os.O_RDONLY | os.O_CLOEXEC)):
    descriptor = libc.open_by_handle_at(mount, handle, os.O_RDONLY | os.O_NOCTTY)
    os.close(descriptor)
# Its number is for something else at once.
descriptor = libc.open_by_handle_at(-100, handle, os.O_RDONLY | os.O_NOCTTY)
kept = os.dup(descriptor); os.dup2(1, descriptor)
"#;
    need_root();
    let scratch = Scratch::new("reads-handle");
    let secret = scratch.text("secret");
    std::fs::write(&secret, "x").unwrap();
    std::fs::write(scratch.path("watched"), format!("{secret}\n")).unwrap();
    let program = scratch.script("program", PROGRAM);
    let agent = Agent::start(&scratch);
    let mut command = traced(&agent, INTEREST, &["python3", "-I", "-S", &program]);
    let output = output(command.current_dir(scratch.text("")));
    assert!(output.status.success(), "{}", stderr(&output));
    let record = agent.finish();
    let stopped_for = stopped_for(&record, &secret);
    assert_eq!(stopped_for.len(), 3, "{:?}", record.of(EventType::Open));
    for read in stopped_for {
        assert!(is_by(&record, read, &record.images()[0].1.file.name));
        let file = read.kind.file().unwrap();
        assert_eq!((&*file.name, file.fault), ("secret", None));
    }
}
