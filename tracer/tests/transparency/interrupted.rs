//! Signals that come while a thread waits for the tracer: they end that wait, before Linux 5.19 until
//! it is answered, since then until its call is received.

#[cfg(feature = "test-tools")]
use picket_events::EventType;

use super::*;

/// `kill $!; exec …`: the child dies before anybody has looked at the exec.
#[test]
fn a_child_that_dies_does_not_interrupt_an_exec() {
    let scratch = Scratch::new("dying-child");
    let agent = Agent::start(&scratch);
    let script = "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        (sleep 60 & until read -r name </proc/$!/comm && [ \"$name\" = sleep ]; do sleep 0.01; done
         sleep 0.01; kill $!; exec /bin/true two) || exit 3
    done";
    let output = output(&mut traced(&agent, "exec", &sh(script)));
    assert!(output.status.success(), "{}", stderr(&output));
    let record = agent.finish();
    let told = record.images().into_iter();
    let told = told.filter(|(_, image)| image.argv == ["/bin/true", "two"]);
    assert_eq!(told.count(), 20);
}

/// `kill $!; : >file`: busybox' shell does not ask again either.
#[cfg(feature = "test-tools")]
#[test]
fn a_child_that_dies_does_not_interrupt_an_open() {
    let scratch = Scratch::new("dying-writer");
    let agent = Agent::start(&scratch);
    let script = format!(
        "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
            (sleep 60 & until read -r name </proc/$!/comm && [ \"$name\" = sleep ]; do sleep 0.01; done
             sleep 0.01; kill $!; : >{}) || exit 3
        done",
        scratch.text("new")
    );
    let command = ["busybox", "sh", "-c", &script];
    let output = output(&mut traced(&agent, "open:write", &command));
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(agent.finish().of(EventType::Open).len(), 20);
}

/// `kill $!; cd …`, and redirections for reading.
#[cfg(feature = "test-tools")]
#[test]
fn a_child_that_dies_does_not_interrupt_what_a_shell_does_at_once() {
    let scratch = Scratch::new("dying-reader");
    std::fs::write(scratch.path("old"), "a line\n").unwrap();
    let here = scratch.path("").to_str().unwrap().to_owned();
    for shell in [&["dash"][..], &["busybox", "sh"]] {
        for work in ["cd", "read -r line <old; cd"] {
            let script = format!(
                "cd {here}
                for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
                    (sleep 60 & until read -r name </proc/$!/comm && [ \"$name\" = sleep ]; do sleep 0.01; done
                     sleep 0.01; kill $!; {work} {here} && echo done)
                done"
            );
            let command = [shell, &["-c", &script]].concat();
            let output = output(&mut silent(&command));
            assert_eq!(
                stdout(&output),
                "done\n".repeat(20),
                "{command:?}: {}",
                stderr(&output)
            );
        }
    }
}

/// The signal is not lost where the exec fails. A program with the name of a shell is taken for one.
#[test]
fn a_signal_that_comes_during_an_exec_is_handled() {
    let scratch = Scratch::new("failing-exec");
    let shell = scratch.path("dash");
    std::fs::copy("/usr/bin/python3", &shell).unwrap();
    let script = r#"
import errno, os, signal, time
rang = 0
def ring(*_):
    global rang
    rang += 1
signal.signal(signal.SIGCHLD, ring)
signal.siginterrupt(signal.SIGCHLD, True)
def child():
    pid = os.fork()
    if pid == 0:
        os.execv("/bin/sleep", ["sleep", "60"])
    while open("/proc/%d/comm" % pid).read() != "sleep\n":
        time.sleep(0.001)
    return pid
failed, first = set(), child()
for i in range(20):
    pid = child()
    os.kill(pid, signal.SIGKILL)
    try:
        os.execv("/no/such/program", ["program"])
    except OSError as error:
        failed.add(errno.errorcode[error.errno])
    while rang == i:
        time.sleep(0.001)
    os.waitpid(pid, 0)
print(failed, rang)
os.kill(first, signal.SIGKILL)
"#;
    let output = output(&mut silent(&[shell.to_str().unwrap(), "-c", script]));
    assert_eq!(stdout(&output), "{'ENOENT'} 20\n", "{}", stderr(&output));
}
