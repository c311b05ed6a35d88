//! Ways around the tracer, each with a real program that tries it. `docs/threat-model.md` lists
//! them by these names.
#![allow(missing_docs)]

#[path = "evasion/doors.rs"]
mod doors;
#[path = "evasion/edges.rs"]
mod edges;
#[path = "evasion/filters.rs"]
mod filters;
#[path = "evasion/handover.rs"]
mod handover;
#[path = "evasion/hiding.rs"]
mod hiding;
#[path = "evasion/mounts.rs"]
mod mounts;
#[path = "evasion/races.rs"]
mod races;
#[path = "evasion/reaching.rs"]
mod reaching;
#[path = "evasion/roots.rs"]
mod roots;
#[path = "evasion/sharing.rs"]
mod sharing;
mod support;
#[path = "evasion/swaps.rs"]
mod swaps;

use std::path::Path;
use std::process::Command;

use picket_events::event::ExitCause;
use picket_events::{Address, EventKind, EventType, Outcome};
use support::*;

/// Builds a C program, runs it traced in its folder, and gives what was said about it.
fn run(name: &str, interest: &str, source: &str) -> (Record, String) {
    let scratch = Scratch::new(name);
    let agent = Agent::start(&scratch);
    let program = build(&scratch, "program", &[], source);
    let command = traced(&agent, interest, &[&program]);
    finished(&scratch, &agent, command)
}

/// Runs a traced command in its folder to its end, which has to be a good one, and gives what was
/// said about it and what it wrote.
fn finished(scratch: &Scratch, agent: &Agent, mut command: Command) -> (Record, String) {
    let output = output(command.current_dir(scratch.path("")));
    assert!(
        output.status.success(),
        "{:?} {}",
        output.status,
        stderr(&output)
    );
    (agent.finish(), stdout(&output))
}

fn opened(record: &Record, name: &str) -> usize {
    let paths = record.paths(EventType::Open);
    paths
        .iter()
        .filter(|path| path.ends_with(&format!("/{name}")))
        .count()
}

fn exit_of(record: &Record, pid: u32) -> (ExitCause, Option<u32>) {
    let exits = record.of(EventType::Exit);
    let exit = exits
        .iter()
        .find(|event| event.pid == pid)
        .expect("its end");
    match &exit.kind {
        EventKind::Exit(exit) => (exit.cause, exit.code),
        _ => unreachable!(),
    }
}

/// Under ptrace, which such a child escapes, its calls of interest fail instead.
#[test]
fn a_child_made_untraced_is_seen() {
    let (record, out) = run(
        "untraced",
        "open:write",
        r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
int main(void) {
    long pid = syscall(SYS_clone, CLONE_UNTRACED | SIGCHLD, 0, 0, 0, 0);
    if (pid == 0) { int fd = open("made", O_CREAT | O_WRONLY, 0600); _exit(fd < 0); }
    int status; waitpid(pid, &status, 0);
    puts(WEXITSTATUS(status) ? "refused" : "made");
    return 0;
}"#,
    );
    if engine() == "ptrace" {
        assert_eq!(out, "refused\n");
        return;
    }
    assert_eq!((out.as_str(), opened(&record, "made")), ("made\n", 1));
    assert_eq!(record.of(EventType::Fork).len(), 1);
}

/// A child of vfork reads its parent's memory, and after its exec has one of its own: what was
/// opened of the first must not serve for the second.
#[test]
fn a_vfork_childs_memory_is_not_taken_for_its_parents() {
    let (record, _) = run(
        "vfork",
        "exec,open:write",
        r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
static char path[64] = "by-child";
int main(void) {
    char *argv[] = {"/bin/sh", "-c", "echo > by-shell", 0};
    pid_t pid = vfork();
    if (pid == 0) {
        open(path, O_CREAT | O_WRONLY, 0600);
        strcpy(path, "by-parent");
        execv(argv[0], argv);
        _exit(1);
    }
    open(path, O_CREAT | O_WRONLY, 0600);
    int status; waitpid(pid, &status, 0); return WEXITSTATUS(status);
}"#,
    );
    for name in ["by-child", "by-parent", "by-shell"] {
        assert_eq!(opened(&record, name), 1, "{name}");
    }
    record.exec("/bin/sh");
}

#[test]
fn an_end_without_exit_group_is_told() {
    let (record, _) = run(
        "rawexit",
        "open:write",
        r#"
#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
int main(void) {
    pid_t pid = fork();
    if (pid == 0) { open("made", O_CREAT | O_WRONLY, 0600); syscall(SYS_exit, 7); }
    int status; waitpid(pid, &status, 0);
    return WEXITSTATUS(status) != 7;
}"#,
    );
    let child = record.of(EventType::Fork)[0].pid;
    let (_, code) = exit_of(&record, child);
    // Nobody told its code: an older kernel shows only that it is gone.
    assert!(matches!(code, Some(7) | None), "{code:?}");
}

#[test]
fn an_exec_that_crashes_at_once_is_told() {
    let scratch = Scratch::new("crash");
    let agent = Agent::start(&scratch);
    let source = "void _start(void) { __builtin_trap(); }";
    let program = build(&scratch, "crasher", &["-nostdlib", "-static"], source);
    output(&mut traced(
        &agent,
        "exec",
        &sh(&format!("{program} now; true")),
    ));
    let record = agent.finish();
    let (event, image) = record.exec("/crasher");
    assert_eq!(image.argv[1..], ["now"]);
    assert_ne!(exit_of(&record, event.pid).0, ExitCause::Exited);
}

#[test]
fn a_program_that_runs_itself_again_is_told_each_time() {
    let (record, _) = run(
        "again",
        "exec",
        r#"
#include <string.h>
#include <unistd.h>
int main(int argc, char **argv) {
    static char *next[8];
    if (argc == 4) return 0;
    memcpy(next, argv, argc * sizeof *argv);
    next[argc] = "again";
    execv("/proc/self/exe", next);
    return 1;
}"#,
    );
    let counts: Vec<_> = record
        .images()
        .iter()
        .map(|(_, image)| image.argv.len())
        .collect();
    assert_eq!(counts, [1, 2, 3, 4]);
}

#[test]
fn what_a_thread_does_after_its_leader_has_gone_is_told() {
    let (record, _) = run(
        "leader",
        "exec,open:write",
        r#"
#include <fcntl.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>
static void *work(void *unused) {
    usleep(100000);
    open("orphaned", O_CREAT | O_WRONLY, 0600);
    char *argv[] = {"/bin/true", "orphaned", 0};
    execv(argv[0], argv);
    return 0;
}
int main(void) {
    pthread_t thread;
    pthread_create(&thread, 0, work, 0);
    syscall(SYS_exit, 0);
}"#,
    );
    assert_eq!(opened(&record, "orphaned"), 1);
    let (event, image) = record.exec("/bin/true");
    assert_eq!(
        (event.pid, image.argv.len()),
        (record.processes()[0].pid, 2)
    );
}

/// Libraries cannot hide calls: the kernel tells of them.
#[test]
fn a_preloaded_library_hides_nothing_and_is_told() {
    let scratch = Scratch::new("preload");
    let agent = Agent::start(&scratch);
    let library = build(
        &scratch,
        "hide.so",
        &["-shared", "-fPIC"],
        r#"
#include <sys/syscall.h>
#include <unistd.h>
int open(const char *path, int flags, ...) { return syscall(SYS_openat, -100, path, flags, 0600); }
int openat(int at, const char *path, int flags, ...) { return syscall(SYS_openat, at, path, flags, 0600); }
"#,
    );
    let file = scratch.text("hidden");
    let script = format!("LD_PRELOAD={library} cp /etc/hostname {file}");
    output(&mut traced(&agent, "exec,open:write", &sh(&script)));
    let record = agent.finish();
    assert_eq!(opened(&record, "hidden"), 1);
    let (_, image) = record.exec("cp");
    assert!(
        image.envs.contains(&format!("LD_PRELOAD={library}")),
        "{:?}",
        image.envs
    );
}

#[test]
fn a_program_in_shared_memory_is_told() {
    let name = format!("/dev/shm/picket-evasion-{}", std::process::id());
    let record = record("shm", "exec", |_| {
        format!("cp /bin/true {name}; chmod 755 {name}; {name}; rm {name}")
    });
    assert_eq!(record.exec(&name).1.file.path, name);
}

/// i386's own programs, with i386's numbers for all that they do.
#[test]
#[cfg(target_arch = "x86_64")]
fn a_program_for_the_other_abi_is_traced() {
    let scratch = Scratch::new(&format!("i386-{}", engine()));
    let agent = Agent::start(&scratch);
    let source = r#"
static int call(int number, const void *a, long b, long c) {
    int result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(c) : "memory");
    return result;
}
void _start(void) {
    const char *argv[] = {"/bin/echo", "from", "i386", 0}, *envp[] = {"SMALL=1", 0};
    if (call(5, "made", 0101, 0600) < 0) call(1, (void *)3, 0, 0); /* open, exit */
    call(11, argv[0], (long)argv, (long)envp); /* execve */
    call(1, (void *)4, 0, 0);
}"#;
    let flags = [
        "-m32",
        "-static",
        "-nostdlib",
        "-no-pie",
        "-fno-pie",
        "-fno-stack-protector",
    ];
    let program = build(&scratch, "small", &flags, source);
    let mut command = traced(&agent, "exec,open:write", &[&program]);
    let ran = output(command.current_dir(scratch.path("")));
    assert_eq!(
        stdout(&ran),
        "from i386\n",
        "{:?} {}",
        ran.status,
        stderr(&ran)
    );
    let record = agent.finish();
    assert_eq!(record.exec("/small").1.file.path, program);
    assert_eq!(opened(&record, "made"), 1);
    let (_, echo) = record.exec("/bin/echo");
    assert_eq!(echo.argv, ["/bin/echo", "from", "i386"]);
    assert_eq!(*echo.envs, ["SMALL"]);
}

/// A program that removes its own file, and is run once more from what is left.
#[test]
fn a_program_whose_file_is_gone_is_told_by_its_last_name() {
    let scratch = Scratch::new(&format!("gone-{}", engine()));
    let agent = Agent::start(&scratch);
    let program = build(
        &scratch,
        "vanishes",
        &[],
        r#"
#include <unistd.h>
int main(int argc, char **argv) {
    static char *again[] = {"again", "once", 0};
    if (argc > 1) return 0;
    unlink(argv[0]);
    execv("/proc/self/exe", again);
    return 1;
}"#,
    );
    let ran = output(&mut traced(&agent, "exec", &[&program]));
    assert!(ran.status.success(), "{:?}", ran.status);
    let record = agent.finish();
    let (_, first) = record.exec("/vanishes");
    let (_, again) = record.exec("again");
    assert_eq!((&again.file.path, again.file.links), (&program, 0));
    assert_eq!(again.file.inode, first.file.inode);
}

/// Whether there is a core file is the machine's affair; what is told is what the kernel says.
#[test]
fn a_program_that_leaves_a_core_dump_is_told_as_one() {
    let scratch = Scratch::new(&format!("core-{}", engine()));
    let agent = Agent::start(&scratch);
    let script = "ulimit -c unlimited 2>/dev/null; kill -SEGV $$";
    let directory = scratch.path("");
    let plain = output(
        Command::new("/bin/sh")
            .args(["-c", script])
            .current_dir(&directory),
    );
    use std::os::unix::process::ExitStatusExt;
    assert_eq!(plain.status.signal(), Some(11), "{:?}", plain.status);
    output(traced(&agent, "exec", &sh(script)).current_dir(&directory));
    let record = agent.finish();
    let main = record.processes()[0].pid;
    let expected = match plain.status.core_dumped() {
        true => ExitCause::CoreDumped,
        false => ExitCause::Signaled,
    };
    assert_eq!(exit_of(&record, main), (expected, Some(11)));
}
