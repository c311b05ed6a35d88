//! What the kernel allows at its edges: few ids, deep directories, tight limits, other clocks.

use super::*;
use std::collections::HashMap;

/// Makes processes that execute something, do something without executing, or are killed.
const STORM: &str = "
import os, sys
os.chdir(sys.argv[1])
for number in range(450):
    child = os.fork()
    if child == 0:
        if number % 3 == 0: os.execv('/bin/true', ['true', f'number-{number}'])
        os.close(os.open(f'number-{number}', os.O_CREAT | os.O_WRONLY))
        if number % 3 == 1: os.kill(os.getpid(), 9)
        os._exit(0)
    os.waitpid(child, 0)
    print(number, child, flush=True)
";

/// Where ids are given again at once, each event is put on the process that had the id then.
/// (Linux 6.14 has a limit of ids for each name space; before, they are only fewer in the test's name.)
#[test]
fn ids_that_are_given_again_at_once_mix_nobody_up() {
    need_root();
    let scratch = Scratch::new("few-ids");
    let agent = Agent::start(&scratch);
    let program = scratch.script("storm.py", STORM);
    let inner = traced(
        &agent,
        "exec,fork,exit,open:write",
        &["python3", "-I", "-S", &program, &scratch.text("")],
    );
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--mount-proc", "--", "/bin/sh", "-c"]);
    // Of the whole machine it must not be.
    command.arg(
        "case $(uname -r) in [1-5].*|6.[0-9].*|6.1[0-3].*) ;; *) echo 400 >/proc/sys/kernel/pid_max ;; esac
        \"$0\" \"$@\"",
    );
    command.arg(inner.get_program()).args(inner.get_args());
    let output = output(&mut command);
    assert!(output.status.success(), "{}", stderr(&output));
    let record = agent.finish();
    let mut children: HashMap<String, u32> = HashMap::new();
    for line in stdout(&output).lines() {
        let (number, child) = line.split_once(' ').unwrap();
        children.insert(format!("number-{number}"), child.parse().unwrap());
    }
    assert_eq!(children.len(), 450);
    let mut living: HashMap<u32, Option<String>> = HashMap::new();
    let mut told = 0;
    for event in record.events() {
        let name = match &event.kind {
            EventKind::Fork(process) => {
                let before = living.insert(process.pid, None);
                assert_eq!(before, None, "{event:?} lives already");
                continue;
            }
            EventKind::Exit(_) => {
                living.remove(&event.pid);
                continue;
            }
            EventKind::Exec(image) => image.argv.last().map(String::as_str),
            EventKind::Open { file, .. } => Some(file.name.as_str()),
            _ => None,
        };
        let Some(name) = name.filter(|name| name.starts_with("number-")) else {
            continue;
        };
        assert_eq!(event.pid, children[name], "{event:?}");
        let does = living.get_mut(&event.pid).expect("it was told to be made");
        assert_eq!(*does, None, "{event:?}: another's life");
        *does = Some(name.to_owned());
        told += 1;
    }
    assert_eq!(told, 450);
}

/// A directory whose path is longer than any path may be.
#[test]
fn what_is_done_below_the_longest_path_is_told() {
    let (record, _) = run(
        "deep",
        "exec,open,mkdir,unlink",
        r##"
#define _GNU_SOURCE
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
int main(void) {
    char name[201];
    memset(name, 'd', 200); name[200] = 0;
    for (int i = 0; i < 60; i++) if (mkdir(name, 0700) || chdir(name)) return 1;
    int fd = open("secret", O_CREAT | O_WRONLY, 0700);
    if (write(fd, "#!/bin/sh\nexit 0\n", 17) != 17) return 2;
    close(fd);
    char *argv[] = {"secret", "deep-one", 0};
    if (fork() == 0) { execv("./secret", argv); _exit(1); }
    int status; wait(&status);
    if (status || unlink("secret")) return 3;
    // From there to where a path leads that has one.
    char up[1024] = "";
    for (int i = 0; i < 120; i++) strcat(up, "../");
    strcat(up, "etc/hostname-or-not");
    if (open(up, O_WRONLY) >= 0) return 5;
    strcpy(strrchr(up, '/'), "/passwd");
    if (open(up, O_RDONLY) < 0) return 6;
    for (int i = 0; i < 60; i++) if (chdir("..") || rmdir(name)) return 4;
    return 0;
}"##,
    );
    assert_eq!(record.of(EventType::Mkdir).len(), 60);
    record.about(EventType::Open, "/etc/passwd");
    let secret = |kind| {
        let of = record.of(kind).into_iter();
        of.filter(|event| event.kind.file().is_some_and(|file| file.name == "secret"))
            .count()
    };
    // The shell opens it as well.
    assert_eq!((secret(EventType::Open), secret(EventType::Unlink)), (2, 1));
    let ran = record.images().into_iter();
    let ran = ran.filter(|(_, image)| image.argv.last().is_some_and(|last| last == "deep-one"));
    assert_eq!(ran.count(), 1);
}

/// The tracer inherits the limits of whoever starts it.
#[test]
fn tight_limits_that_are_inherited_hold_nothing_up() {
    let scratch = Scratch::new("limits");
    let agent = Agent::start(&scratch);
    let inner = traced(&agent, "exec", &sh("/bin/true one; /bin/true two; exit 3"));
    let mut command = Command::new("/bin/sh");
    let limits =
        "ulimit -f 0; ulimit -n 32; ulimit -v 65536; ulimit -s 256; ulimit -l 0; ulimit -c 0";
    command.args(["-c", &format!("{limits}; exec \"$0\" \"$@\"")]);
    command.arg(inner.get_program()).args(inner.get_args());
    let output = output(&mut command);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    let record = agent.finish();
    for last in ["one", "two"] {
        let of_it = record.images().into_iter();
        let of_it = of_it.filter(|(_, image)| image.argv.last().is_some_and(|word| word == last));
        assert_eq!(of_it.count(), 1);
    }
    assert!(record.lost().is_empty());
}

/// A time name space has another monotonic clock and another time since boot.
#[test]
fn a_time_name_space_changes_no_times() {
    need_root();
    let before = std::time::SystemTime::now();
    let record = record("clocks", "exec", |_| {
        "unshare --time --fork --monotonic 1000000 --boottime 1000000 /bin/true there".to_owned()
    });
    let nanoseconds = |time: std::time::SystemTime| {
        let since = time.duration_since(std::time::UNIX_EPOCH).unwrap();
        since.as_nanos() as u64
    };
    // Ticks since boot are coarser than the clock.
    let first = nanoseconds(before) - 60_000_000_000;
    let last = nanoseconds(std::time::SystemTime::now()) + 60_000_000_000;
    let (event, _) = record.exec("/bin/true");
    assert!((first..last).contains(&event.time), "{event:?}");
    let made = record.of(EventType::Fork);
    let images = record.processes().len();
    assert!(images > 0 || !made.is_empty());
    for process in record.processes() {
        assert!((first..last).contains(&process.started_at), "{process:?}");
    }
}
