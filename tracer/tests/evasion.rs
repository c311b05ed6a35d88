//! Ways around the tracer, each with a real program that tries it. `docs/threat-model.md` lists
//! them by these names.
#![allow(missing_docs)]

#[path = "evasion/handover.rs"]
mod handover;
#[path = "evasion/mounts.rs"]
mod mounts;
mod support;

use std::process::Command;

use picket_events::event::ExitCause;
use picket_events::{Address, EventKind, EventType, Outcome};
use support::*;

/// Builds a C program.
fn build(scratch: &Scratch, name: &str, flags: &[&str], source: &str) -> String {
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

/// Builds a C program, runs it traced in its folder, and gives what was said about it.
fn run(name: &str, interest: &str, source: &str) -> (Record, String) {
    let scratch = Scratch::new(name);
    let agent = Agent::start(&scratch);
    let program = build(&scratch, "program", &[], source);
    let mut command = traced(&agent, interest, &[&program]);
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

#[test]
fn memory_of_other_processes_is_watched_and_ours_is_out_of_reach() {
    let scratch = Scratch::new("procmem");
    let agent = Agent::start(&scratch);
    let program = "
import os
child = os.fork()
if child == 0:
    import time; time.sleep(60)
fd = os.open(f'/proc/{child}/mem', os.O_RDWR)
os.kill(child, 9)
print(child)
for name in ('mem', 'environ', 'maps'):
    try: os.open(f'/proc/{os.getppid()}/{name}', os.O_RDWR if name == 'mem' else os.O_RDONLY)
    except OSError: continue
    raise SystemExit(name + ' of the tracer is open')
";
    let inner = traced(&agent, "open", &["python3", "-c", program]);
    // As in a pod: nobody has these capabilities.
    let mut command = Command::new("setpriv");
    command.args([
        "--bounding-set=-sys_ptrace,-sys_admin,-perfmon",
        "--inh-caps=-all",
    ]);
    command.arg(inner.get_program()).args(inner.get_args());
    let output = output(command.stdin(std::process::Stdio::null()));
    assert!(output.status.success(), "{}", stderr(&output));
    let path = format!("/proc/{}/mem", stdout(&output).trim());
    let record = agent.finish();
    let told: Vec<_> = record
        .paths(EventType::Open)
        .into_iter()
        .filter(|p| *p == path)
        .collect();
    assert_eq!(told.len(), 1);
}

/// The ptrace engine occupies the place: there the attempt is refused, and told as well.
#[test]
fn a_trace_of_a_sibling_is_told() {
    let record = record("sibling", "ptrace,memory_write", |_| {
        "python3 -c 'import ctypes, os, time
libc = ctypes.CDLL(None)
word = ctypes.create_string_buffer(8)
vector = (ctypes.c_size_t * 2)(ctypes.addressof(word), 8)
victim = os.fork()
if victim == 0: time.sleep(60)
if libc.ptrace(16, victim, 0, 0) == 0: os.waitpid(victim, 0)
number = {\"x86_64\": 311, \"aarch64\": 271}[os.uname().machine]
while libc.syscall(number, victim, vector, 1, vector, 1, 0) != 8: time.sleep(0.05)
os.kill(victim, 9)'"
            .into()
    });
    let [trace] = record.of(EventType::Ptrace)[..] else {
        panic!("{record:#?}")
    };
    let EventKind::Ptrace {
        request: 16,
        target,
    } = trace.kind
    else {
        panic!("{trace:?}")
    };
    // A child that was only just made may not be ready for it: then it is tried again.
    let write = *record.of(EventType::MemoryWrite).last().expect("a write");
    assert_eq!(write.kind, EventKind::MemoryWrite { target });
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

/// The taking of a descriptor is not told; whose open it was is.
#[test]
fn a_program_in_shared_memory_is_told() {
    let name = format!("/dev/shm/picket-evasion-{}", std::process::id());
    let record = record("shm", "exec", |_| {
        format!("cp /bin/true {name}; chmod 755 {name}; {name}; rm {name}")
    });
    assert_eq!(record.exec(&name).1.file.path, name);
}

#[test]
fn without_its_socket_the_tracer_goes_on() {
    let scratch = Scratch::new("unlinked");
    let agent = Agent::start(&scratch);
    let program = format!(
        "
import os, socket
for i in range(300):
    try: socket.socket(socket.AF_UNIX).connect('{0}')
    except PermissionError: continue
    raise SystemExit('not refused')
os.unlink('{0}')
os.execv('/bin/true', ['/bin/true', 'afterwards'])
",
        agent.socket.display()
    );
    let output = output(&mut traced(
        &agent,
        "exec,unlink",
        &["python3", "-c", &program],
    ));
    assert!(output.status.success(), "{}", stderr(&output));
    let record = agent.finish();
    assert_eq!(record.exec("/bin/true").1.argv[1], "afterwards");
    assert_eq!(record.of(EventType::Unlink).len(), 1);
    assert_eq!(record.notices().len(), 300);
    assert_eq!(agent.heard().len(), 1, "nobody else came through");
}

#[test]
fn scheduling_and_signals_aimed_at_the_tracer_are_refused() {
    let scratch = Scratch::new("aimed");
    let agent = Agent::start(&scratch);
    let program = "
import fcntl, os, struct
worker = os.getppid()
def refused(work):
    try: work()
    except PermissionError: return
    raise SystemExit('not refused')
refused(lambda: os.sched_setscheduler(worker, os.SCHED_IDLE, os.sched_param(0)))
refused(lambda: os.sched_setparam(worker, os.sched_param(0)))
refused(lambda: os.sched_setaffinity(worker, {0}))
refused(lambda: fcntl.fcntl(0, fcntl.F_SETOWN, worker))
refused(lambda: fcntl.fcntl(0, 15, struct.pack('ii', 1, worker)))
a, b = os.pipe()
refused(lambda: fcntl.ioctl(a, 0x8901, struct.pack('i', worker)))
import resource
refused(lambda: resource.prlimit(worker, resource.RLIMIT_NOFILE, (3, 3)))
";
    let output = output(&mut traced(&agent, "exec", &["python3", "-c", program]));
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(agent.finish().notices().len(), 7);
}

/// A second thread swaps the arguments while the program is executed.
#[test]
fn an_exec_is_told_with_the_arguments_that_the_kernel_took() {
    let (record, out) = run(
        "swap-argv",
        "exec",
        r#"
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
static char word[8] = "aaaa";
static void *swap(void *unused) { for (;;) { memset(word, 'a', 4); memset(word, 'b', 4); } return 0; }
int main(void) {
    setvbuf(stdout, 0, _IONBF, 0);
    for (int i = 0; i < 12; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            pthread_t thread;
            pthread_create(&thread, 0, swap, 0);
            char *argv[] = {"/bin/echo", word, 0};
            execv(argv[0], argv);
            _exit(1);
        }
        waitpid(pid, 0, 0);
    }
    return 0;
}"#,
    );
    let told = record
        .images()
        .into_iter()
        .filter(|(_, image)| image.argv.len() == 2);
    let told: Vec<_> = told.map(|(_, image)| image.argv[1].as_str()).collect();
    assert_eq!(told, out.lines().collect::<Vec<_>>());
}

/// A second thread swaps the address while the connection is made.
#[test]
fn a_connect_is_told_with_the_address_that_the_kernel_took() {
    let (record, out) = run(
        "swap-address",
        "connect",
        r#"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
static struct sockaddr_in to = {.sin_family = AF_INET};
static void *swap(void *unused) {
    for (;;) { *(volatile unsigned short *)&to.sin_port = htons(1001); *(volatile unsigned short *)&to.sin_port = htons(1002); }
    return 0;
}
int main(void) {
    pthread_t thread;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    to.sin_port = htons(1001);
    pthread_create(&thread, 0, swap, 0);
    int seen[2] = {0, 0};
    time_t end = time(0) + 6;
    static int kept[64];
    for (int i = 0; i < 40 || (time(0) < end && !(seen[0] && seen[1])); i++) {
        // Open for as long as a look may take.
        if (kept[i % 64]) close(kept[i % 64]);
        int fd = kept[i % 64] = socket(AF_INET, SOCK_DGRAM, 0);
        if (connect(fd, (struct sockaddr *)&to, sizeof to)) return 1;
        struct sockaddr_in peer; socklen_t length = sizeof peer;
        getpeername(fd, (struct sockaddr *)&peer, &length);
        printf("%d\n", ntohs(peer.sin_port));
        seen[ntohs(peer.sin_port) == 1002] = 1;
    }
    fflush(stdout);
    _exit(0);
}"#,
    );
    let events = record.of(EventType::Connect);
    let real: Vec<u16> = out.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(events.len(), real.len());
    for (event, real) in events.iter().zip(&real) {
        let EventKind::Connect {
            address: Address::Ip { port, .. },
            ..
        } = &event.kind
        else {
            panic!("{event:?}")
        };
        assert!(
            port == real || event.outcome == Outcome::Unconfirmed,
            "{event:?}: {real}"
        );
    }
    let seen = events.iter().filter(|event| is_seen(event.outcome));
    assert!(
        2 * seen.count() >= real.len(),
        "the sockets stay open: most can be looked at"
    );
    assert!(
        real.contains(&1001) && real.contains(&1002),
        "the race was run: {real:?}"
    );
}

/// A second thread swaps the path while a file is opened: what is told as done was done.
#[test]
fn an_open_that_may_have_been_another_is_not_said_to_be_seen() {
    let (record, out) = run(
        "swap-path",
        "open:write",
        r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
static char path[8] = "file-a";
static void *swap(void *unused) { for (;;) { *(volatile char *)(path + 5) = 'a'; *(volatile char *)(path + 5) = 'b'; } return 0; }
int main(void) {
    // Both are there, and open.
    if (open("file-a", O_CREAT | O_RDWR, 0600) < 0 || open("file-b", O_CREAT | O_RDWR, 0600) < 0) return 1;
    pthread_t thread;
    pthread_create(&thread, 0, swap, 0);
    int seen[2] = {0, 0};
    time_t end = time(0) + 6;
    for (int i = 0; i < 60 || (time(0) < end && !(seen[0] && seen[1])); i++) {
        char link[32], target[256] = "";
        int fd = open(path, O_RDWR);
        sprintf(link, "/proc/self/fd/%d", fd);
        if (readlink(link, target, sizeof target - 1) < 0) return 1;
        puts(strrchr(target, '/') + 1);
        seen[strrchr(target, '/')[6] == 'b'] = 1;
        close(fd);
    }
    fflush(stdout);
    _exit(0);
}"#,
    );
    let opens: Vec<_> = record
        .of(EventType::Open)
        .into_iter()
        .filter(|event| event.kind.file().unwrap().name.starts_with("file-"))
        .skip(2)
        .collect();
    let real: Vec<_> = out.lines().collect();
    assert_eq!(opens.len(), real.len());
    for (event, real) in opens.iter().zip(&real) {
        let name = &event.kind.file().unwrap().name;
        assert!(
            name == real || event.outcome == Outcome::Unconfirmed,
            "{event:?}: {real}"
        );
    }
    assert!(
        real.contains(&"file-a") && real.contains(&"file-b"),
        "the race was run"
    );
}

/// A second thread swaps the path while a file is removed: that something was tried is told.
#[test]
fn a_removal_of_something_else_is_not_passed_over() {
    let (record, _) = run(
        "swap-removal",
        "unlink",
        r#"
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>
static char path[8] = "file-a";
static void *swap(void *unused) { for (;;) { *(volatile char *)(path + 5) = 'a'; *(volatile char *)(path + 5) = 'b'; } return 0; }
int main(void) {
    pthread_t thread;
    pthread_create(&thread, 0, swap, 0);
    for (int i = 0; i < 30; i++) {
        close(open("file-a", O_CREAT | O_RDWR, 0600));
        close(open("file-b", O_CREAT | O_RDWR, 0600));
        if (unlink(path)) return 1;
    }
    _exit(0);
}"#,
    );
    assert_eq!(record.of(EventType::Unlink).len(), 30);
}
