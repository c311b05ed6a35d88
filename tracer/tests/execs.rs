//! Execs of programs that are run again and again: told with what the kernel was given, whichever way
//! they are confirmed. Each program is executed by a new process several times, for one that the
//! tracer has seen to start as usual is looked at in another way than a new one
//! (`docs/decisions/0036-a-new-program-is-met-later.md`).
#![allow(missing_docs)]

#[path = "execs/credentials.rs"]
mod credentials;
#[path = "execs/extremes.rs"]
mod extremes;
#[path = "execs/filtered.rs"]
mod filtered;
mod support;

use picket_events::event::ExitCause;
use picket_events::wire::ToAgent;
use picket_events::{Event, EventKind, EventType, Image, Outcome};
use support::*;

/// An exec that is known to have succeeded.
const DONE: Outcome = Outcome::Returned(0);

/// How often each program is executed.
const TIMES: usize = 4;

/// Runs a script traced, and gives what was said about it and what it wrote.
fn run(scratch: &Scratch, script: &str) -> (Record, String) {
    let agent = Agent::start(scratch);
    let mut command = traced(&agent, "exec", &sh(script));
    let output = output(command.current_dir(scratch.path("")).env("MARK", "here"));
    assert!(output.status.success(), "{script}: {}", stderr(&output));
    (agent.finish(), stdout(&output))
}

/// Execs with this as the last argument.
fn with_last<'a>(record: &'a Record, argument: &str) -> Vec<(&'a Event, &'a Image)> {
    let all = record.images().into_iter();
    all.filter(|(_, image)| image.argv.last().is_some_and(|last| last == argument))
        .collect()
}

#[test]
fn a_program_that_is_run_again_is_told_as_the_first_time() {
    let scratch = Scratch::new("again-and-again");
    let script = format!(
        "for i in {}; do /bin/echo one two; done",
        "x ".repeat(TIMES)
    );
    let (record, out) = run(&scratch, &script);
    assert_eq!(out, "one two\n".repeat(TIMES));
    let told = with_last(&record, "two");
    assert_eq!(told.len(), TIMES);
    let first = told[0].1;
    assert_eq!(first.argv, ["/bin/echo", "one", "two"]);
    assert_eq!(
        (first.comm.as_str(), first.file.name.as_str()),
        ("echo", "echo")
    );
    assert!(
        first.envs.iter().any(|entry| entry == "MARK"),
        "{:?}",
        first.envs
    );
    assert!(first.file.inode != 0 && !first.argv_truncated && !first.envs_truncated);
    for (event, image) in told {
        assert_eq!(image, first);
        assert_eq!(event.outcome, DONE);
    }
}

#[test]
fn a_script_that_is_run_again_is_told_with_its_interpreter() {
    let scratch = Scratch::new("scripts");
    let script = scratch.script("job", "#!/bin/sh -e\n: done\n");
    let twice = scratch.script("job2", &format!("#!{script} -x\n"));
    for (program, before) in [(&script, 1), (&twice, 3)] {
        let line = format!("for i in {}; do {program} a b; done", "x ".repeat(TIMES));
        let (record, _) = run(&scratch, &line);
        let told = with_last(&record, "b");
        assert_eq!(told.len(), TIMES, "{program}");
        for (event, image) in told {
            assert_eq!(&image.file.path, program);
            assert_eq!(image.interpreter.as_ref().unwrap().name, interpreter());
            assert_eq!(image.argv[image.argv.len() - 3..], [program, "a", "b"]);
            assert!(image.argv.len() >= 4 + before, "{:?}", image.argv);
            assert_eq!(event.outcome, DONE);
        }
    }
}

/// Name of the file that `/bin/sh` is.
fn interpreter() -> String {
    let file = std::fs::canonicalize("/bin/sh").unwrap();
    file.file_name().unwrap().to_str().unwrap().to_owned()
}

#[test]
fn many_and_long_arguments_are_told_whole_or_said_to_be_cut() {
    let scratch = Scratch::new("long");
    let words = |count: usize, length: usize| vec!["w".repeat(length); count].join(" ");
    for (count, length) in [(3, 3000), (120, 20), (300, 5), (40, 600)] {
        let words = words(count, length);
        let line = format!(
            "for i in {}; do /bin/true {words}; done",
            "x ".repeat(TIMES)
        );
        let (record, _) = run(&scratch, &line);
        let told: Vec<_> = record
            .images()
            .into_iter()
            .filter(|(_, image)| image.comm == "true")
            .collect();
        assert_eq!(told.len(), TIMES);
        for (event, image) in told {
            assert!(image.argv_truncated || image.argv.len() == count + 1);
            assert!(
                image.argv[1..].iter().all(|word| word.len() == length) || image.argv_truncated
            );
            assert_eq!(event.outcome, DONE);
        }
    }
}

#[test]
fn what_is_not_executed_is_not_told() {
    let scratch = Scratch::new("failing-execs");
    let source = r#"
#include <sys/wait.h>
#include <unistd.h>
int main(void) {
    for (int i = 0; i < 4; i++) {
        if (fork() == 0) {
            // As execvp looks for a program: here, not executable, and there.
            char *argv[] = {"true", "found", 0};
            execv("/nonexistent/true", argv);
            execv("/etc/passwd", argv);
            execv("/", argv);
            execv("/bin/true", argv);
            _exit(1);
        }
        if (fork() == 0) {
            char *argv[] = {"true", "nowhere", 0};
            execv("/nonexistent/true", argv);
            _exit(0);
        }
        int status;
        wait(&status); if (status) return 1;
        wait(&status); if (status) return 1;
    }
    return 0;
}"#;
    let program = build(&scratch, "failing", &[], source);
    let (record, _) = run(&scratch, &program);
    assert_eq!(with_last(&record, "found").len(), 4);
    assert!(with_last(&record, "nowhere").is_empty());
    let execs = record.of(EventType::Exec).into_iter();
    assert!(
        execs
            .map(|event| event.outcome)
            .all(|outcome| outcome == DONE)
    );
}

/// A program without a C library that takes itself for one, and changes what it was started with before
/// anyone can have looked.
#[cfg(target_arch = "x86_64")]
const LIAR: &str = r#"
__asm__(".globl _start\n_start: mov %rsp, %rdi\n and $-16, %rsp\n call begin\n");
static long call(long number, long argument) {
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(argument) : "rcx", "r11", "memory");
    return result;
}
static void write_over(char *to, const char *from) { while (*to && *from) *to++ = *from++; }
void begin(long *stack) {
    long count = stack[0];
    char **argv = (char **)(stack + 1), **envs = argv + count + 1;
    while (*envs) envs++;
    long *auxiliary = (long *)(envs + 1);
    // The first time it behaves.
    if (argv[1][0] != 'b') {
        write_over(argv[1], "harmless");
        for (; *auxiliary; auxiliary += 2)
            if (*auxiliary == 31) write_over((char *)auxiliary[1], "/bin/true");
    }
    call(218, 0); // set_tid_address
    call(231, 0); // exit_group
}"#;

#[cfg(target_arch = "x86_64")]
#[test]
fn a_program_that_changes_its_arguments_at_once_is_not_believed() {
    let scratch = Scratch::new("liar");
    let liar = build(
        &scratch,
        "liar",
        &["-nostdlib", "-static", "-fno-stack-protector"],
        LIAR,
    );
    let (record, _) = run(
        &scratch,
        &format!(
            "{liar} behaves; for i in {}; do {liar} evil-job; done",
            "x ".repeat(TIMES)
        ),
    );
    let told: Vec<_> = record
        .images()
        .into_iter()
        .filter(|(_, image)| image.file.path == liar)
        .collect();
    assert_eq!(
        told.len(),
        TIMES + 1,
        "it is never told as another program: {:?}",
        record.images()
    );
    for (event, image) in told {
        let is_true = ["behaves", "evil-job"].contains(&image.argv[1].as_str());
        assert!(
            is_true || event.outcome == Outcome::Unconfirmed,
            "{event:?}"
        );
        assert_eq!(image.interpreter, None);
    }
    // It is looked at before it can do anything from the second lie on at the latest.
    let true_ones = with_last(&record, "evil-job");
    assert!(true_ones.len() >= TIMES - 1, "{:?}", record.images());
    assert!(true_ones.iter().all(|(event, _)| event.outcome == DONE));
}

/// A second thread swaps the program while it is executed: both are known to start as usual.
#[test]
fn a_program_that_was_swapped_is_told_as_what_ran() {
    let scratch = Scratch::new("swapped");
    let source = r#"
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
static char path[16] = "/bin/true";
static void *swap(void *unused) { for (;;) { memcpy(path, "/bin/uniq", 9); memcpy(path, "/bin/true", 9); } return 0; }
int main(void) {
    char *first[] = {"uniq", "/dev/null", 0};
    for (int i = 0; i < 2; i++) {
        if (fork() == 0) { execv("/bin/uniq", first); _exit(1); }
        wait(0);
        if (fork() == 0) { execv("/bin/true", first); _exit(1); }
        wait(0);
    }
    for (int i = 0; i < 40; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            pthread_t thread;
            pthread_create(&thread, 0, swap, 0);
            char *argv[] = {"/bin/x", "/nowhere", 0};
            execv(path, argv);
            _exit(9);
        }
        int status;
        waitpid(pid, &status, 0);
        // Torn, it may be no program at all.
        printf("%d %d\n", pid, WEXITSTATUS(status));
    }
    return 0;
}"#;
    let program = build(&scratch, "swapper", &[], source);
    let (record, out) = run(&scratch, &program);
    for line in out.lines() {
        let (pid, status) = line.split_once(' ').unwrap();
        let of_it = |(event, _): &(&Event, &Image)| event.pid.to_string() == pid;
        let told: Vec<_> = record.images().into_iter().filter(of_it).collect();
        // `uniq` does not find the file that it is given.
        let expected = match status {
            "0" => "true",
            "1" => "uniq",
            _ => {
                assert!(told.is_empty(), "{line}: {told:?}");
                continue;
            }
        };
        assert_eq!(told.len(), 1, "{line}");
        assert_eq!(told[0].1.file.name, expected);
        assert_eq!(told[0].1.argv, ["/bin/x", "/nowhere"]);
    }
}

/// The kernel ends a process when its new program finds no room.
#[test]
fn a_program_that_is_killed_as_it_starts_is_told() {
    let scratch = Scratch::new("no-room");
    let source = r#"
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
int main(void) {
    char *argv[] = {"true", "doomed", 0};
    for (int i = 0; i < 6; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            struct rlimit none = {1 << 16, 1 << 16};
            if (i > 1) setrlimit(RLIMIT_AS, &none);
            execv("/bin/true", argv);
            _exit(1);
        }
        int status;
        waitpid(pid, &status, 0);
        printf("%d %d\n", pid, WIFSIGNALED(status));
    }
    return 0;
}"#;
    let program = build(&scratch, "starver", &[], source);
    let (record, out) = run(&scratch, &program);
    let killed: Vec<u32> = out
        .lines()
        .filter_map(|line| line.strip_suffix(" 1")?.parse().ok())
        .collect();
    assert_eq!(killed.len(), 4, "{out}");
    for pid in killed {
        let causes = record
            .of(EventType::Exit)
            .into_iter()
            .filter(|event| event.pid == pid);
        let causes = causes.map(|event| match &event.kind {
            EventKind::Exit(exit) => exit.cause,
            other => panic!("{other:?}"),
        });
        let causes: Vec<_> = causes.collect();
        assert!(
            causes.len() == 1 && causes[0] != ExitCause::Exited,
            "{causes:?}"
        );
        let told = with_last(&record, "doomed");
        if engine() == "notification" {
            let (event, image) = told
                .iter()
                .find(|(event, _)| event.pid == pid)
                .expect("its exec");
            assert_eq!(
                (image.argv[0].as_str(), image.file.name.as_str()),
                ("true", "true")
            );
            assert!(matches!(
                event.outcome,
                Outcome::Succeeded | Outcome::Unconfirmed | Outcome::Returned(0)
            ));
        }
    }
}
