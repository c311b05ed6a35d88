//! Signals that come while the tracer makes calls in a program's place: on kernels before 5.19 they keep
//! the program from taking the answer, and have it make the call again.

use super::*;

/// Rules that have all changes made by the tracer, and refuse none of these.
fn elsewhere() -> Vec<DenyRule> {
    let kinds = [
        EventType::Open,
        EventType::Unlink,
        EventType::Rmdir,
        EventType::Rename,
        EventType::Mkdir,
        EventType::Link,
    ];
    kinds.map(|kind| rule(kind, "/nowhere/*")).to_vec()
}

const INTEREST: &str = "open,unlink,rmdir,rename,mkdir,link";

/// A timer that rings all the time, with a handler that has `SA_RESTART` or, where it `interrupts`, has not.
fn ringing(interrupts: bool, work: &str) -> String {
    // An emulated machine is some thirty times slower: it would do nothing but ring.
    let every = match option_env!("PICKET_SLOW") {
        Some(_) => "0.03",
        None => "0.0005",
    };
    let interrupts = if interrupts { "True" } else { "False" };
    r#"
import signal
rang = 0
def ring(*_):
    global rang
    rang += 1
signal.signal(signal.SIGALRM, ring)
signal.siginterrupt(signal.SIGALRM, INTERRUPTS)
def make(name):
    os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
make(here + "/first"); os.listdir(here)
def open_now(): return len(os.listdir("/proc/self/fd"))
open_before, wrong = open_now(), set()
signal.setitimer(signal.ITIMER_REAL, EVERY, EVERY)
WORK
signal.setitimer(signal.ITIMER_REAL, 0)
# Before Linux 5.14 a descriptor is given before the call returns, which the signal may prevent.
print(wrong, rang > 10, open_now() - open_before)
"#
    .replace("INTERRUPTS", interrupts)
    .replace("EVERY", every)
    .replace("WORK", work)
}

/// Each of these says something else when it is made twice.
const CHANGES: &str = r#"
for i in range(100):
    a, b = here + "/f%d" % i, here + "/g%d" % i
    wrong |= {got(os.mkdir, here + "/d"), got(make, a), got(os.rename, a, b), got(os.link, b, a),
              got(os.unlink, b), got(os.rmdir, here + "/d")}
"#;

#[test]
fn a_signal_does_not_have_a_call_made_twice() {
    let program = ringing(false, CHANGES);
    let denied = Denied::start("signals", INTEREST, &elsewhere(), &program);
    let (said, record) = denied.end();
    assert_eq!(said, "{'done'} True 0\n");
    let made = |event: EventType| record.of(event).len();
    let told = [
        EventType::Mkdir,
        EventType::Rename,
        EventType::Link,
        EventType::Rmdir,
    ]
    .map(made);
    assert_eq!(told, [100; 4]);
}

/// The thread's signals come to the tracer first, and find a call that was made to have returned. A handler
/// that lacks `SA_RESTART` has none of them give EINTR, which no file system does.
#[test]
fn a_signal_does_not_interrupt_a_change() {
    if !is_interruptible() {
        return; // nobody is attached to: docs/tracer.md, Limits
    }
    let denied = Denied::start(
        "interrupting",
        INTEREST,
        &elsewhere(),
        &ringing(true, CHANGES),
    );
    let (said, _) = denied.end();
    assert_eq!(said, "{'done'} True 0\n");
}

/// A handler that makes the same calls itself gets answers of its own, whatever it interrupts.
#[test]
fn what_a_handler_does_is_not_mistaken_for_the_call_that_it_interrupts() {
    const SOURCE: &str = r#"
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>
static volatile int rang, wrong;
static void four(const char *name) {
    wrong += mkdir(name, 0755) != 0;
    wrong += mkdir(name, 0755) == 0 || errno != EEXIST;
    wrong += rmdir(name) != 0;
    wrong += rmdir(name) == 0 || errno != ENOENT;
}
static void ring(int signal) { int before = errno; rang++; four("inner"); errno = before; }
int main(int count, char **arguments) {
    if (chdir(arguments[1])) return 1;
    struct sigaction action = { .sa_handler = ring, .sa_flags = SA_RESTART };
    sigaction(SIGALRM, &action, 0);
    four("outer");
    struct itimerval timer = { { 0, EVERY }, { 0, EVERY } }, never = { { 0, 0 }, { 0, 0 } };
    setitimer(ITIMER_REAL, &timer, 0);
    for (int i = 0; i < 100 || rang < 10; i++) four("outer");
    setitimer(ITIMER_REAL, &never, 0);
    printf("%d wrong\n", wrong);
    return 0;
}"#;
    // Between two signals there is time for more than the handler's own calls.
    let every = match option_env!("PICKET_SLOW") {
        Some(_) => "100000",
        None => "3000",
    };
    let program = "os.execv(here + '/../nested', ['nested', here])";
    let denied = Denied::start_as("nested", INTEREST, &[], program, |scratch| {
        build(scratch, "nested", &[], &SOURCE.replace("EVERY", every));
        elsewhere()
    });
    let (said, _) = denied.end();
    assert_eq!(said, "0 wrong\n");
}

/// A signal to the whole process comes to any of its threads.
#[test]
fn of_several_threads_each_takes_its_own_answers() {
    const WORK: &str = r#"
def work(mine):
    global wrong
    for i in range(60):
        wrong |= {got(os.mkdir, mine), got(make, mine + "/f"), got(os.unlink, mine + "/f"), got(os.rmdir, mine)}
threads = [threading.Thread(target=work, args=(here + "/%d" % i,)) for i in range(3)]
for thread in threads: thread.start()
while any(thread.is_alive() for thread in threads): time.sleep(0.001)
"#;
    let denied = Denied::start("threads", INTEREST, &elsewhere(), &ringing(false, WORK));
    let (said, _) = denied.end();
    assert_eq!(said, "{'done'} True 0\n");
}
