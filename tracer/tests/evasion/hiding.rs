//! Processes that keep others from looking into them.

use super::*;
use picket_events::file::FileFault;
use picket_events::wire::Notice;

/// Runs a program traced as the root of a container without CAP_SYS_PTRACE, or as another user
/// without any: a process that is not dumpable is then closed to the tracer as it is to everybody.
fn run_unprivileged(name: &str, user: Option<&str>, source: &str) -> Record {
    need_root();
    let scratch = Scratch::new(name);
    set_mode(&scratch.path(""), 0o777);
    let agent = Agent::start(&scratch);
    let program = build(&scratch, "program", &["-static"], source);
    let interest = "exec,fork,exit,open,unlink";
    let inner = traced(&agent, interest, &[&program]);
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set", "-sys_ptrace", "--inh-caps", "-sys_ptrace"]);
    if let Some(user) = user {
        command.args(["--reuid", user, "--regid", user, "--clear-groups"]);
    }
    command
        .arg("--")
        .arg(inner.get_program())
        .args(inner.get_args());
    finished(&scratch, &agent, command).0
}

/// Names of the files that these processes opened, or only named.
fn named<'a>(record: &'a Record, pids: &[u32]) -> Vec<&'a str> {
    let opens = record.of(EventType::Open);
    let of_them = opens.iter().filter(|event| pids.contains(&event.pid));
    of_them
        .filter_map(|event| event.kind.file())
        .map(|file| file.name.as_str())
        .collect()
}

fn unreadable(record: &Record, pid: u32) -> usize {
    let opens = record.of(EventType::Open);
    let is_unreadable = |event: &&&picket_events::Event| {
        event.kind.file().unwrap().fault == Some(FileFault::Unreadable)
    };
    let of_it = opens.iter().filter(|event| event.pid == pid);
    of_it.filter(is_unreadable).count()
}

fn hidden(record: &Record) -> Vec<u32> {
    let notices = record.notices();
    let of = |notice: &&Notice| match notice {
        Notice::Hidden { pid } => Some(*pid),
        _ => None,
    };
    notices.iter().filter_map(of).collect()
}

fn children(record: &Record) -> Vec<u32> {
    let forks = record.of(EventType::Fork);
    forks.iter().map(|event| event.pid).collect()
}

fn main_of(record: &Record) -> u32 {
    record.exec("program").0.pid
}

/// What was opened of a process before it hid stays readable. A child that it makes cannot be looked
/// into, which is said once, and its end and what it executes are told.
#[test]
fn a_process_that_says_it_is_not_dumpable_is_seen_and_its_children_are_told_to_hide() {
    let source = r#"
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
int main(void) {
    prctl(PR_SET_DUMPABLE, 0);
    close(open("first", O_CREAT | O_WRONLY, 0600));
    if (fork() == 0) {
        close(open("by-child", O_CREAT | O_WRONLY, 0600));
        unlink("first");
        execl("/bin/true", "true", (char *)0);
    }
    wait(0);
    close(open("last", O_CREAT | O_WRONLY, 0600));
    return 0;
}"#;
    for user in [None, Some("33")] {
        let record = run_unprivileged("not-dumpable", user, source);
        let (main, children) = (main_of(&record), children(&record));
        let seen = named(&record, &[main]);
        assert!(
            seen.contains(&"first") && seen.contains(&"last"),
            "{seen:?}"
        );
        assert_eq!(unreadable(&record, main), 0);
        assert_eq!(children.len(), 1);
        assert_eq!(hidden(&record), children);
        assert_eq!(unreadable(&record, children[0]), 1);
        assert_eq!(record.exec("true").0.pid, children[0]);
        assert_eq!(exit_of(&record, children[0]), (ExitCause::Exited, Some(0)));
    }
}

/// A change of ids takes that right away as well, also where it is taken back at once.
#[test]
fn a_process_that_changes_its_ids_is_seen_and_its_children_are_told_to_hide() {
    let record = run_unprivileged(
        "ids-and-back",
        None,
        r#"
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>
int main(void) {
    if (seteuid(33) || seteuid(0)) return 1;
    close(open("first", O_CREAT | O_WRONLY, 0600));
    if (fork() == 0) {
        int fd = open("by-child", O_CREAT | O_WRONLY, 0600);
        _exit(fd < 0);
    }
    wait(0);
    return 0;
}"#,
    );
    let (main, children) = (main_of(&record), children(&record));
    assert!(named(&record, &[main]).contains(&"first"));
    assert_eq!(unreadable(&record, main), 0);
    assert_eq!(hidden(&record), children);
}

/// A program that its user may not read is told with its path and its arguments, and told to hide.
#[test]
fn a_program_that_may_not_be_read_is_told_to_hide() {
    let record = run_unprivileged(
        "unreadable-program",
        Some("33"),
        r#"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
int main(int argc, char **argv) {
    if (argc > 1) {
        int fd = open("by-unreadable", O_CREAT | O_WRONLY, 0600);
        return fd < 0;
    }
    char text[65536];
    int from = open(argv[0], O_RDONLY), to = open("closed", O_CREAT | O_WRONLY, 0700);
    for (ssize_t got; (got = read(from, text, sizeof text)) > 0;) write(to, text, got);
    close(to);
    chmod("closed", 0111);
    if (fork() == 0) { execl("./closed", "closed", "again", (char *)0); _exit(127); }
    int status; wait(&status);
    return WEXITSTATUS(status);
}"#,
    );
    let (event, image) = record.exec("closed");
    assert!(image.file.path.ends_with("/closed") && !image.file.path.contains("/./"));
    assert_eq!(event.outcome, Outcome::Unconfirmed);
    assert_eq!(image.argv, ["closed", "again"]);
    assert_eq!(image.file.mode & 0o777, 0o111);
    assert_eq!(hidden(&record), [event.pid]);
    assert!(unreadable(&record, event.pid) > 0);
}

/// As many processes as there is room for to read them fast do not close the memory of one that could
/// not be opened again.
#[test]
fn a_crowd_does_not_close_what_could_not_be_opened_again() {
    let record = run_unprivileged(
        "crowd",
        None,
        r#"
#include <fcntl.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
int main(void) {
    int go[2], made[2]; char byte;
    if (pipe(go) || pipe(made)) return 1;
    if (fork() == 0) {
        prctl(PR_SET_DUMPABLE, 0);
        close(open("before", O_CREAT | O_WRONLY, 0600));
        write(made[1], "x", 1);
        read(go[0], &byte, 1);
        close(open("after", O_CREAT | O_WRONLY, 0600));
        _exit(0);
    }
    read(made[0], &byte, 1);
    for (int i = 0; i < 300; i++) {
        if (fork() == 0) {
            int fd = open("crowd", O_CREAT | O_WRONLY, 0600);
            _exit(fd < 0);
        }
        wait(0);
    }
    write(go[1], "x", 1);
    while (wait(0) > 0) {}
    return 0;
}"#,
    );
    let hiding = children(&record)[0];
    assert_eq!(named(&record, &[hiding]), ["before", "after"]);
    assert_eq!(hidden(&record), [0u32; 0]);
}

/// A daemon shuts itself into a directory and gives root up; what a child of it executes there is told
/// by its names in the container.
#[test]
fn the_root_of_a_process_that_hides_is_its_childrens() {
    let record = run_unprivileged(
        "hidden-root",
        None,
        r#"
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
int main(int argc, char **argv) {
    if (argc > 1) {
        int fd = open("/by-inner", O_CREAT | O_WRONLY, 0600);
        return fd < 0;
    }
    mkdir("jail", 0777);
    if (chmod("jail", 0777) || link("program", "jail/inner") || chroot("jail") || chdir("/")) return 1;
    if (setgid(33) || setuid(33)) return 2;
    if (fork() == 0) { execl("/inner", "inner", "again", (char *)0); _exit(3); }
    int status; wait(&status);
    return WEXITSTATUS(status);
}"#,
    );
    let paths = record.paths(EventType::Open);
    assert!(
        paths.iter().any(|path| path.ends_with("/jail/by-inner")),
        "{paths:?}"
    );
    assert_eq!(hidden(&record), [0u32; 0]);
}

/// What the root of a process has become that hides and changes it is not to be seen: what it opens then
/// is told as it was written, and not as a file of the container that has this name.
#[test]
fn a_root_that_is_changed_in_hiding_is_said_to_be_unknown() {
    let record = run_unprivileged(
        "hidden-chroot",
        None,
        r#"
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>
int main(void) {
    mkdir("jail", 0777);
    if (mkdir("jail/etc", 0755) || prctl(PR_SET_DUMPABLE, 0) || chroot("jail")) return 1;
    int fd = open("/etc/passwd", O_CREAT | O_WRONLY, 0600);
    return fd < 0;
}"#,
    );
    let opens = record.of(EventType::Open);
    let event = opens.last().unwrap();
    let file = event.kind.file().unwrap();
    assert_eq!((file.path.as_str(), file.inode), ("/etc/passwd", 0));
    assert!(file.fault.is_some(), "{file:?}");
    if engine() != "ptrace" {
        assert_eq!(event.outcome, Outcome::Unconfirmed);
    }
}

/// As PHP does for each script. `..`, another directory, one that may not be entered, and one that is not
/// there.
#[test]
fn the_working_directory_of_a_process_that_hides_is_followed() {
    let record = run_unprivileged(
        "hidden-directory",
        None,
        r#"
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
static void leave(const char *name) { close(open(name, O_CREAT | O_WRONLY, 0600)); }
int main(void) {
    mkdir("one", 0777); mkdir("one/two", 0777); mkdir("closed", 0700);
    if (chmod("one", 0777) || chmod("one/two", 0777)) return 1;
    if (setgid(33) || setuid(33)) return 2;
    leave("at-start");
    if (chdir("one/two")) return 3;
    leave("in-two");
    leave("../in-one");
    if (!chdir("../../closed") || !chdir("missing")) return 4;
    leave("still-in-two");
    if (chdir("..")) return 5;
    leave("somewhere");
    return 0;
}"#,
    );
    let paths = record.paths(EventType::Open);
    let temporary = std::env::temp_dir().canonicalize().unwrap();
    let whole = |path: &String| Path::new(path).starts_with(&temporary);
    for name in ["/at-start", "/one/two/in-two", "/one/in-one"] {
        assert!(
            paths.iter().any(|path| path.ends_with(name) && whole(path)),
            "{name} {paths:?}"
        );
    }
    // Whether a group has let it into the closed one is not known: no more is claimed, and that is said.
    assert_eq!(paths[paths.len() - 2..], ["still-in-two", "somewhere"]);
    assert_eq!(hidden(&record), [main_of(&record)]);
}

/// The kernel looks at the lower half of an `int` only.
#[test]
fn hiding_is_seen_whatever_else_stands_in_the_register() {
    let record = run_unprivileged(
        "hidden-high",
        None,
        r#"
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
int main(void) {
    if (syscall(SYS_prctl, 1UL << 32 | PR_SET_DUMPABLE, 0UL, 0, 0, 0)) return 1;
    if (prctl(PR_GET_DUMPABLE)) return 2;
    close(open("found", O_CREAT | O_WRONLY, 0600));
    return 0;
}"#,
    );
    let opens = record.of(EventType::Open);
    let found = opens.iter().filter_map(|event| event.kind.file());
    let found: Vec<_> = found.filter(|file| file.name == "found").collect();
    assert!(
        matches!(found[..], [file] if file.path.starts_with('/') && file.fault.is_none()),
        "{found:?}"
    );
}

/// Memory that the kernel reads for its own process and for nobody else: what is named there could not
/// be told, so there is none.
#[test]
fn memory_that_only_its_process_can_read_is_refused_and_told() {
    let record = record("secret-memory", "exec,open", |scratch| {
        let source = r#"
#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>
int main(void) { return !(syscall(447, 0) == -1 && errno == ENOSYS); }"#;
        build(scratch, "program", &["-static"], source)
    });
    let event = record.of(EventType::Open).into_iter();
    let of_it: Vec<_> = event
        .filter(|event| event.kind.file().unwrap().name == "secretmem")
        .map(|event| event.outcome)
        .collect();
    assert_eq!(of_it, [picket_events::Outcome::Denied(38)]);
}

/// Since Linux 6.14 the pages that `perf_event_open` shares with a program are such memory. What stands
/// there is told, or else that it is not known; and a bad address alone says nothing.
#[test]
fn a_path_in_memory_that_is_shared_with_the_kernel_is_told_or_told_to_be_hidden() {
    let record = record("kernel-memory", "exec,mkdir", |scratch| {
        let source = r#"
#include <fcntl.h>
#include <linux/perf_event.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
int main(int argc, char **argv) {
    struct perf_event_attr kind = {.type = PERF_TYPE_SOFTWARE, .size = sizeof kind,
        .config = PERF_COUNT_SW_DUMMY, .exclude_kernel = 1};
    int event = syscall(SYS_perf_event_open, &kind, 0, -1, -1, 0);
    char *shared = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, event, 0);
    if (shared == MAP_FAILED) return 2;
    if (fork() == 0) {
        char *end = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        munmap(end + 4096, 4096);
        memset(end, 'x', 4096);
        mkdir((char *)8, 0755);
        mkdir(end + 4000, 0755);
        // A file that is shorter by now than what is mapped of it.
        int file = open(argv[2], O_CREAT | O_RDWR, 0600);
        if (ftruncate(file, 8192)) _exit(3);
        char *cut = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        strcpy(cut + 4096, argv[1]);
        if (ftruncate(file, 100) || mkdir(cut + 4096, 0755) != -1) _exit(3);
        _exit(0);
    }
    int status;
    if (wait(&status) < 0 || status) return 4;
    strcpy(shared + 2048, argv[1]);
    return mkdir(shared + 2048, 0755) != 0;
}"#;
        let program = build(scratch, "program", &["-static"], source);
        format!(
            "exec {program} {} {}",
            scratch.text("made"),
            scratch.text("cut")
        )
    });
    let main = main_of(&record);
    let names = record.of(EventType::Mkdir).into_iter();
    let is_told = names
        .filter(|event| event.pid == main)
        .any(|event| event.kind.file().unwrap().name == "made");
    let expected = match is_told {
        true => vec![],
        false => vec![main],
    };
    assert_eq!(hidden(&record), expected);
}
