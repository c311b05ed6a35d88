//! Name spaces of a program's own.

use super::*;

/// In a PID name space of its own a process has another number, and `/proc/self` leads to that.
#[test]
fn a_path_through_its_own_proc_is_followed() {
    need_root();
    let record = record("own-proc", "exec,open", |scratch| {
        let [one, two] = ["one", "two"].map(|name| scratch.text(name));
        std::fs::write(&one, "").unwrap();
        std::fs::write(&two, "").unwrap();
        format!(
            "unshare --user --map-root-user --mount --pid --fork --mount-proc \
             sh -c 'cat /proc/self/root{one}; cat /proc/thread-self/root{two}; /proc/self/root/bin/true'"
        )
    });
    for name in ["one", "two"] {
        let opens = record.paths(EventType::Open);
        let is_it =
            |path: &&String| path.ends_with(&format!("/{name}")) && !path.contains("/proc/");
        assert_eq!(opens.iter().filter(is_it).count(), 1, "{name}: {opens:?}");
    }
    let (_, image) = record.exec("/bin/true");
    assert!(
        image.file.path.ends_with("/bin/true") && !image.file.path.contains("/proc/"),
        "{image:?}"
    );
}

/// Runs a command in a PID name space below the tracer's, which is none of the machine's: numbers are
/// small in both.
fn apart_twice(name: &str, interest: &str, command: &[&str]) -> (Record, String) {
    need_root();
    let apart = ["unshare", "--pid", "--fork", "--mount-proc"];
    let scratch = Scratch::new(name);
    let agent = Agent::start(&scratch);
    let inner = traced(&agent, interest, &[&apart, command].concat());
    let mut command = Command::new(apart[0]);
    command.args(&apart[1..]);
    command.arg(inner.get_program()).args(inner.get_args());
    let ran = output(&mut command);
    assert!(ran.status.success(), "{}", stderr(&ran));
    let record = agent.finish();
    assert!(record.notices().is_empty(), "{:?}", record.notices());
    (record, stdout(&ran))
}

/// The tracer's own numbers are somebody else's there.
#[test]
fn who_has_our_number_in_another_name_space_is_not_us() {
    const SOURCE: &str = r#"
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>
int main(void) {
    for (int number = 2; number < 10; number++) {
        int child = fork(), status;
        if (child == 0) for (;;) pause();
        if (child != number) return 1;
        if (kill(child, SIGKILL)) { perror("kill"); return 2; }
        if (wait(&status) != child || !WIFSIGNALED(status)) return 3;
    }
    return 0;
}"#;
    let scratch = Scratch::new("our-number");
    let program = build(&scratch, "program", &[], SOURCE);
    for interest in ["exec", "exec,signal"] {
        apart_twice("our-numbers", interest, &[&program]);
    }
}

#[test]
fn signals_in_another_name_space_are_told_with_whom_they_were_for() {
    const PROGRAM: &str = "
import os, signal, subprocess
children = [subprocess.Popen(['sleep', '1000']) for _ in range(8)]
for child in children: os.kill(child.pid, signal.SIGKILL)
leader = subprocess.Popen(['sleep', '1000'], start_new_session=True)
os.killpg(leader.pid, signal.SIGTERM)
print([child.wait() for child in children], leader.wait(), children[0].pid)
";
    let (record, said) = apart_twice(
        "numbers",
        "exec,fork,signal",
        &["python3", "-I", "-S", "-c", PROGRAM],
    );
    assert!(
        said.starts_with("[-9, -9, -9, -9, -9, -9, -9, -9] -15 "),
        "{said}"
    );
    let sleeping = record.images().into_iter();
    let sleeping =
        sleeping.filter(|(_, image)| image.argv.first().is_some_and(|name| name == "sleep"));
    let mut expected: Vec<_> = sleeping.map(|(event, _)| event.pid as i32).collect();
    assert_eq!(expected.len(), 9);
    // Each was given a higher number than the one before; execs may be told in another order.
    expected.sort_unstable();
    expected[8] = -expected[8];
    let signals = record.of(EventType::Signal).into_iter();
    let told: Vec<_> = signals
        .filter_map(|event| match event.kind {
            EventKind::Signal { target, .. } => Some(target),
            _ => None,
        })
        .collect();
    assert_eq!(told, expected);
}
