//! Files that are to be watched and cannot be: the kernel's limits, ours, and rights.

use std::process::Command;

use picket_events::wire::{Notice, Unwatched, UnwatchedReason};

use super::*;

/// What was last said not to be watched, and whether `grep` is seen there all the same.
fn unwatched(record: &Record) -> Option<(bool, Vec<Unwatched>)> {
    let notices = record.notices().into_iter().rev();
    let mut told = notices.filter_map(|notice| match notice {
        Notice::ReadsUnwatched {
            are_plain_seen,
            files,
        } => Some((*are_plain_seen, files.clone())),
        _ => None,
    });
    told.next()
}

fn interest(agent: &Agent) -> String {
    let hello = agent.heard().into_iter().find_map(|heard| heard.hello);
    hello.unwrap().interest
}

/// A command under the tracer, behind others that have first say.
fn behind(words: &[&str], traced: &Command) -> Command {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).arg(traced.get_program());
    command.args(traced.get_args());
    command.stdin(std::process::Stdio::null());
    command
}

/// In a user name space of its own, with a limit of inotify's.
fn limited(limit: &str, number: u32, traced: &Command) -> Command {
    let script = format!("echo {number} >/proc/sys/user/{limit}; exec \"$@\"");
    let words = [
        "unshare",
        "--user",
        "--map-root-user",
        "sh",
        "-ec",
        &script,
        "sh",
    ];
    behind(&words, traced)
}

/// Makes a folder of so many files.
fn many(scratch: &Scratch, count: usize) -> Vec<String> {
    std::fs::create_dir_all(scratch.path("many")).unwrap();
    let paths: Vec<_> = (0..count)
        .map(|number| scratch.text(&format!("many/{number}")))
        .collect();
    for path in &paths {
        std::fs::write(path, "x\n").unwrap();
    }
    paths
}

#[test]
fn reads_of_more_files_than_are_watched_are_stopped_for() {
    let scratch = Scratch::new("reads-many");
    let paths = many(&scratch, 300);
    let pattern = scratch.text("many/*");
    std::fs::write(scratch.path("watched"), format!("{pattern}\n")).unwrap();
    let agent = Agent::start(&scratch);
    let words: Vec<_> = ["/bin/grep", "-c", "x"]
        .into_iter()
        .chain(paths.iter().map(String::as_str))
        .collect();
    output(&mut traced(&agent, INTEREST, &words));
    let record = agent.finish();
    assert!(interest(&agent).contains("open:noctty"));
    for path in &paths {
        let [read] = stopped_for(&record, path)[..] else {
            panic!("one read of {path}")
        };
        assert!(is_by(&record, read, "grep"), "{read:?}");
    }
    let (are_plain_seen, files) = unwatched(&record).expect("a notice");
    let [missing] = &files[..] else {
        panic!("{files:?}")
    };
    assert!(are_plain_seen);
    assert_eq!(
        (missing.reason, missing.count),
        (UnwatchedReason::TooMany, 1),
        "the folder's rest"
    );
    assert_eq!(missing.paths, [pattern]);
}

#[test]
fn where_the_kernel_has_no_instance_or_watch_left_reads_are_stopped_for() {
    need_root();
    for (limit, number, reason) in [
        ("max_inotify_instances", 0, UnwatchedReason::NoInstance),
        ("max_inotify_watches", 1, UnwatchedReason::NoWatchLeft),
    ] {
        let scratch = Scratch::new(&format!("reads-{limit}"));
        let secret = scratch.text("secret");
        std::fs::write(&secret, "x\n").unwrap();
        std::fs::write(scratch.path("watched"), format!("{secret}\n")).unwrap();
        let agent = Agent::start(&scratch);
        let traced = traced(&agent, INTEREST, &["/bin/grep", "x", &secret]);
        output(&mut limited(limit, number, &traced));
        let record = agent.finish();
        assert!(interest(&agent).contains("open:noctty"), "{limit}");
        let [read] = stopped_for(&record, &secret)[..] else {
            panic!("one read, {limit}")
        };
        assert!(is_by(&record, read, "grep"), "{read:?}");
        let (are_plain_seen, files) = unwatched(&record).expect("a notice");
        assert!(are_plain_seen && files.iter().any(|missing| missing.reason == reason));
        let is_named = |missing: &Unwatched| missing.paths.contains(&secret);
        assert!(files.iter().any(is_named), "{files:?}");
    }
}

/// Root without the right to read everything, but with that to become somebody else.
#[test]
fn reads_of_what_the_tracer_may_not_read_are_stopped_for_where_others_may_come_to() {
    need_root();
    let scratch = Scratch::new("reads-foreign");
    let secret = scratch.text("secret");
    std::fs::write(&secret, "x\n").unwrap();
    set_mode(secret.as_ref(), 0o600);
    std::os::unix::fs::chown(&secret, Some(1_234), Some(1_234)).unwrap();
    std::fs::write(scratch.path("watched"), format!("{secret}\n")).unwrap();
    let agent = Agent::start(&scratch);
    let grep = ["/bin/grep", "x", &secret];
    let other = ["setpriv", "--reuid", "1234", "--clear-groups"];
    let words: Vec<_> = other.into_iter().chain(grep).collect();
    let traced_one = traced(&agent, INTEREST, &words);
    let without = "-dac_override,-dac_read_search";
    let output = output(&mut behind(
        &["setpriv", "--bounding-set", without],
        &traced_one,
    ));
    assert!(output.status.success(), "{}", stderr(&output));
    let record = agent.finish();
    let [read] = stopped_for(&record, &secret)[..] else {
        panic!("one read")
    };
    assert!(is_by(&record, read, "grep"), "{read:?}");
    let (are_plain_seen, files) = unwatched(&record).expect("a notice");
    let [missing] = &files[..] else {
        panic!("{files:?}")
    };
    assert!(are_plain_seen);
    assert_eq!(missing.reason, UnwatchedReason::Unreadable);
    assert_eq!(missing.paths, [secret]);
}

/// Most containers of a user's own cannot read what root keeps, and never will: that costs
/// nothing, and is not reported.
#[test]
fn what_nobody_in_the_container_can_read_is_not_missed() {
    need_root();
    let scratch = Scratch::new("reads-never");
    let (secret, open) = (scratch.text("secret"), scratch.text("open"));
    for file in [&secret, &open] {
        std::fs::write(file, "x\n").unwrap();
    }
    set_mode(secret.as_ref(), 0o600);
    std::fs::write(scratch.path("watched"), format!("{secret}\n{open}\n")).unwrap();
    let agent = Agent::start(&scratch);
    let traced = traced(&agent, INTEREST, &["/bin/grep", "x", &secret, &open]);
    let user = [
        "setpriv",
        "--reuid",
        "1234",
        "--regid",
        "1234",
        "--clear-groups",
    ];
    output(&mut behind(&user, &traced));
    let record = agent.finish();
    assert!(interest(&agent).contains("open:plain"));
    assert_eq!(unwatched(&record), None);
    assert_eq!(reads(&record, &open).len(), 1);
}

#[test]
fn what_comes_to_be_unwatched_later_is_told_and_that_it_is_over() {
    let scratch = Scratch::new("reads-crowd");
    many(&scratch, 0);
    let pattern = scratch.text("many/*");
    let agent = Agent::start(&scratch);
    let command = sh("until [ -e \"$0\" ]; do sleep 0.1; done");
    let done = scratch.text("done");
    let words = [command[0], command[1], command[2], &done];
    let mut child = start(&mut traced(&agent, INTEREST, &words));
    watch(&agent, std::slice::from_ref(&pattern));
    // When it has heard that is not known; as long as nothing is missing, nothing is told.
    let paths = many(&scratch, 300);
    let record = agent.until("that files are too many", |record| {
        unwatched(record).is_some_and(|(_, files)| !files.is_empty())
    });
    let (are_plain_seen, files) = unwatched(&record).unwrap();
    assert!(!are_plain_seen, "the filter is as it is");
    assert_eq!(files[0].reason, UnwatchedReason::TooMany);
    assert!(files[0].paths[0].starts_with(&scratch.text("many/")));
    for path in &paths[10..] {
        std::fs::remove_file(path).unwrap();
    }
    agent.until("that it is over", |record| {
        unwatched(record).is_some_and(|(_, files)| files.is_empty())
    });
    std::fs::write(&done, "").unwrap();
    assert!(wait(&mut child).success());
    assert!(interest(&agent).contains("open:plain"));
    agent.finish();
}
