//! More processes than the tracer has descriptors for, or than it can look through for each call.

use super::*;

/// What a process does is told, and when it ends, also where no descriptor can be kept for it.
#[test]
fn more_processes_than_descriptors_hide_nothing() {
    let scratch = Scratch::new("crowd");
    let agent = Agent::start(&scratch);
    let read = scratch.text("read");
    std::fs::write(&read, "").unwrap();
    let crowd = format!(
        "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
            for j in 1 2 3 4 5 6 7 8; do sleep 60 & all=\"$all $!\"; done
        done
        cat {read}; /bin/echo done; kill $all; wait; exec sleep 3"
    );
    let inner = traced(&agent, "exec,exit,open", &sh(&crowd));
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "ulimit -n 128; exec \"$0\" \"$@\""]);
    command.arg(inner.get_program()).args(inner.get_args());
    let mut child = start(command.stdout(Stdio::null()).stderr(Stdio::null()));
    let sleeps = |record: &Record| -> Vec<u32> {
        let images = record.images().into_iter();
        let sleeps = images.filter(|(_, image)| image.argv == ["sleep", "60"]);
        sleeps.map(|(event, _)| event.pid).collect()
    };
    let record = agent.until("the end of all of them", |record| {
        let ended: Vec<u32> = record
            .of(EventType::Exit)
            .iter()
            .map(|event| event.pid)
            .collect();
        let all = sleeps(record);
        all.len() == 160 && all.iter().all(|pid| ended.contains(pid))
    });
    assert_eq!(record.exec("/bin/echo").1.argv, ["/bin/echo", "done"]);
    record.about(EventType::Open, &read);
    assert!(wait(&mut child).success());
}

/// Everything is stopped at once in the midst of its work, as the freezer stops a pod, and goes on after
/// longer than a worker may hang: nobody is taken to have hung, and nothing is missing.
#[test]
fn a_pod_that_is_frozen_for_a_while_goes_on_as_if_nothing_had_been() {
    let scratch = Scratch::new("frozen");
    let agent = Agent::start(&scratch);
    // Of the test's own: interpreters and their launchers read files of the system, too.
    let read = scratch.text("read");
    std::fs::write(&read, "").unwrap();
    let enough = scratch.text("enough");
    let program = "
import os, sys
opens = 0
while not os.path.exists(sys.argv[1]):
    for _ in range(50): os.close(os.open(sys.argv[2], os.O_RDONLY))
    opens += 50
    if os.spawnv(os.P_WAIT, '/bin/true', ['true']): raise SystemExit('a program failed')
print(opens)
";
    let command = ["python3", "-I", "-S", "-c", program, &enough, &read];
    let mut child = start(traced(&agent, "exec,open", &command).stdout(Stdio::piped()));
    agent.until("the program", |record| record.images().len() > 1);
    let worker = worker_of(child.id()).expect("a worker");
    let path = format!("/proc/{worker}/task/{worker}/children");
    let application = std::fs::read_to_string(path).unwrap();
    let keeper = child.id().to_string();
    let worker_pid = worker.to_string();
    let mut all = vec![keeper.as_str(), &worker_pid];
    all.extend(application.split_whitespace());
    let signal = |signal: &str| {
        let kill = Command::new("/bin/kill").arg(signal).args(&all).status();
        assert!(kill.unwrap().success());
    };
    for _ in 0..3 {
        let before = agent.messages().len();
        signal("-STOP");
        std::thread::sleep(std::time::Duration::from_millis(1_500));
        signal("-CONT");
        agent.until("what is done after that", |record| {
            record.0.len() > before + 100
        });
    }
    std::fs::write(&enough, "").unwrap();
    assert!(wait(&mut child).success());
    let mut made = String::new();
    std::io::Read::read_to_string(&mut child.stdout.take().unwrap(), &mut made).unwrap();
    let record = agent.finish();
    let restarts = record
        .notices()
        .into_iter()
        .filter(|notice| matches!(notice, Notice::Restarted { .. }));
    assert_eq!(restarts.count(), 0);
    let told = record.paths(EventType::Open).into_iter();
    let told = told.filter(|path| *path == read).count() as u64;
    let lost: u64 = record.lost().iter().map(|lost| lost.count).sum();
    let made: u64 = made.trim().parse().unwrap();
    assert!(
        told <= made && told + lost >= made,
        "{told} and {lost} of {made}"
    );
}

/// Of those that end with the main process too: there is no next look at who lives.
#[test]
fn ends_in_the_last_moment_are_told_however_many_there_are() {
    const ENDS: &str = "
import os, signal, sys
read, write = os.pipe()
children = []
for _ in range(400):
    child = os.fork()
    if child == 0:
        os.close(os.open('/dev/null', os.O_WRONLY)); os.write(write, b'x'); signal.pause()
    os.read(read, 1); children.append(child)
for child in children: os.kill(child, 9)
for child in children: os.waitpid(child, 0)
os._exit(0)
";
    let scratch = Scratch::new("last-moment");
    let agent = Agent::start(&scratch);
    let command = ["python3", "-I", "-S", "-c", ENDS];
    let inner = traced(&agent, "exit,fork,open:write", &command);
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "ulimit -n 128; exec \"$0\" \"$@\""]);
    command.arg(inner.get_program()).args(inner.get_args());
    assert!(output(&mut command).status.success());
    let record = agent.finish();
    let pids = |kind| -> std::collections::BTreeSet<u32> {
        record.of(kind).into_iter().map(|event| event.pid).collect()
    };
    let (forks, ends) = (pids(EventType::Fork), pids(EventType::Exit));
    assert!(forks.len() >= 400, "{}", forks.len());
    assert_eq!(forks.difference(&ends).count(), 0);
}

/// A thousand calls that wait at once are received without a look at all of them for each.
#[test]
fn a_crowd_that_ends_at_once_is_told_to_the_last() {
    const CROWD: usize = 1_000;
    let scratch = Scratch::new("ends");
    let agent = Agent::start(&scratch);
    let script = format!(
        r#"
import os
gate, held = os.pipe()
for _ in range({CROWD}):
    if os.fork() == 0:
        os.close(held)
        os.read(gate, 1)
        os._exit(7)
os.close(held)
print(sum(os.waitstatus_to_exitcode(os.wait()[1]) for _ in range({CROWD})))
"#
    );
    let mut command = traced(&agent, "exec,exit", &["python3", "-c", &script]);
    let output = output(&mut command);
    assert_eq!(stdout(&output), format!("{}\n", 7 * CROWD));
    let record = agent.finish();
    let seven =
        |event: &&Event| matches!(&event.kind, EventKind::Exit(exit) if exit.code == Some(7));
    let told = record.of(EventType::Exit).into_iter().filter(seven);
    let mut pids: Vec<_> = told.map(|event| event.pid).collect();
    pids.sort_unstable();
    pids.dedup();
    assert_eq!(pids.len(), CROWD);
    assert!(record.lost().is_empty(), "{:?}", record.lost());
}

/// No process is left for another worker, as when the program has made as many as the user or the pod may
/// have: what it does meanwhile is not refused but counted, and as soon as there is room, it is traced again.
#[test]
fn where_there_is_no_room_for_another_worker_the_program_goes_on_until_there_is() {
    need_root();
    let scratch = Scratch::new("no-room");
    let agent = Agent::start(&scratch);
    let program = build(
        &scratch,
        "goes-on",
        &[],
        r#"
#include <fcntl.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>
int main(void) {
    char path[32];
    for (int number = 0; access("enough", F_OK); number++) {
        sprintf(path, "made-%d", number);
        int fd = creat(path, 0600), pid = fork();
        if (fd < 0 || pid < 0) return 1;
        if (pid == 0) { execl("/bin/true", "true", path, NULL); _exit(1); }
        int status; if (waitpid(pid, &status, 0) != pid || status) return 2;
        close(fd); usleep(1000);
    }
    return 7;
}"#,
    );
    let traced = traced(&agent, "exec,open:write", &[&program]);
    // The kernel holds root to no such limit: a user who has no other processes.
    let as_user = || {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=54321", "--regid=54321", "--clear-groups"]);
        command
    };
    let mut command = as_user();
    command.arg(traced.get_program()).args(traced.get_args());
    command.current_dir(scratch.path("")).stdin(Stdio::null());
    let mut child = start(&mut command);
    let made = || std::fs::read_dir(scratch.path("")).unwrap().count();
    let allow = |processes: &str| {
        let limit = format!("--nproc={processes}:");
        let keeper = child.id().to_string();
        let mut command = as_user();
        let ran = command.args(["prlimit", "--pid", &keeper, &limit]).status();
        assert!(ran.unwrap().success());
    };
    agent.until("the program", |record| record.images().len() > 1);
    allow("1");
    let worker = worker_of(child.id()).expect("a worker");
    let kill = Command::new("/bin/kill")
        .args(["-KILL", &worker.to_string()])
        .status();
    assert!(kill.unwrap().success());
    eventually("the worker to be gone", || worker_of(child.id()).is_none());
    let before = made();
    eventually("the program to go on", || made() > before + 20);
    assert_eq!(worker_of(child.id()), None);
    allow("200");
    let record = agent.until("a program that is traced again", |_| {
        let last = agent.heard().pop().unwrap_or_default();
        let is_new = last.hello.is_some_and(|hello| hello.generation > 0);
        is_new && Record(last.messages).images().len() > 1
    });
    let counted = |kind: EventType| {
        let of = record.lost().into_iter().flat_map(|lost| &lost.by_type);
        let of = of.filter(|(lost, _)| *lost == kind);
        of.map(|(_, count)| *count).sum::<u64>()
    };
    assert!(counted(EventType::Open) > 20 && counted(EventType::Exec) > 20);
    std::fs::write(scratch.path("enough"), "").unwrap();
    assert_eq!(wait(&mut child).code(), Some(7));
}

/// Thousands of threads that sleep in a call are looked at again and again: that takes no longer for each
/// the more of them there are, or nothing else in the container would get on.
#[test]
fn thousands_of_threads_that_wait_hold_nobody_up() {
    const SOURCE: &str = r#"
#include <arpa/inet.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
static int listener;
static void *waits(void *unused) { return accept(listener, 0, 0) < 0 ? 0 : unused; }
int main(void) {
    struct sockaddr_in address = {.sin_family = AF_INET};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    listener = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 1)) return 1;
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 16384);
    for (int i = 0; i < 4000; i++) {
        pthread_t thread;
        if (pthread_create(&thread, &small, waits, 0)) return 2;
    }
    int status;
    pid_t other = fork();
    if (other == 0) {
        for (int i = 0; i < 300; i++) { close(open("/dev/null", O_WRONLY)); usleep(4000); }
        _exit(0);
    }
    _exit(waitpid(other, &status, 0) != other || status);
}"#;
    let scratch = Scratch::new("waiting-threads");
    let program = build(&scratch, "program", &[], SOURCE);
    let agent = Agent::start(&scratch);
    let ran = output(&mut traced(&agent, "accept,open:write", &[&program]));
    assert!(ran.status.success(), "{:?}", ran.status);
    let paths = agent.finish().paths(EventType::Open);
    let told = paths.iter().filter(|path| *path == "/dev/null").count();
    assert_eq!(told, 300);
}
