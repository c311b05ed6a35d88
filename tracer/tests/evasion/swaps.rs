//! Another process gives a name on a path to another file, while a call that uses the path is under
//! way. Who makes the call has one thread, so nobody can have changed what it asked for.

use super::*;

/// Two directories with a file each, and two links to them that another process exchanges all the time.
const FLIPPER: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
static void make(const char *path) { close(open(path, O_CREAT | O_WRONLY, 0600)); }
static int once(void);
int main(void) {
    mkdir("one", 0700); mkdir("two", 0700);
    symlink("one", "a"); symlink("two", "b");
    make("one/file"); make("two/file");
    pid_t flipper = fork();
    if (flipper == 0) for (;;) syscall(SYS_renameat2, AT_FDCWD, "a", AT_FDCWD, "b", RENAME_EXCHANGE);
    int result = 0;
    for (int i = 0; i < 150 && !result; i++) result = once();
    kill(flipper, 9); waitpid(flipper, 0, 0);
    return result;
}
"#;

/// What is looked at before and after is then not what the kernel has changed: that something was
/// changed is told all the same.
#[test]
fn a_change_whose_way_another_process_swaps_is_not_taken_for_failed() {
    const CHANGES: [(&str, &str, EventType); 3] = [
        (
            "chmod",
            r#"static int once(void) {
    chmod("one/file", 0600); chmod("two/file", 0600);
    return chmod("a/file", 0755); }"#,
            EventType::Chmod,
        ),
        (
            "unlink",
            r#"static int once(void) { make("one/file"); make("two/file"); return unlink("a/file"); }"#,
            EventType::Unlink,
        ),
        (
            "rename",
            r#"static int once(void) {
    make("one/file"); make("two/file");
    if (rename("a/file", "other")) return 1;
    return rename("other", "b/other"); }"#,
            EventType::Rename,
        ),
    ];
    for (interest, once, kind) in CHANGES {
        let source = [FLIPPER, once].concat();
        let (record, _) = run(&format!("swapped-{interest}"), interest, &source);
        let is_one = |event: &&picket_events::Event| match &event.kind {
            EventKind::Chmod { mode, .. } => *mode == 0o755,
            EventKind::Rename { from, .. } => from.name == "file",
            _ => true,
        };
        let told = record.of(kind).into_iter().filter(is_one).count();
        assert_eq!(told, 150, "{interest}");
    }
}

/// Directories themselves are exchanged while files are opened in them: what is said to be seen is the
/// file that was opened, by whatever name it had in that moment.
#[test]
fn a_file_that_is_said_to_be_open_is_the_one_that_was_opened() {
    const OPENS: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
int main(void) {
    const char *made[] = {"one/file", "two/file"};
    mkdir("one", 0700); mkdir("two", 0700);
    for (int i = 0; i < 2; i++) close(open(made[i], O_CREAT | O_WRONLY, 0600));
    pid_t flipper = fork();
    if (flipper == 0) for (;;) syscall(SYS_renameat2, AT_FDCWD, "one", AT_FDCWD, "two", RENAME_EXCHANGE);
    for (int i = 0; i < 400; i++) {
        int file = open("one/file", O_RDWR);
        struct stat found; fstat(file, &found);
        printf("%lu\n", (unsigned long)found.st_ino);
        // Open until the tracer has looked, which it has at the next call.
        close(open("mark", O_CREAT | O_WRONLY, 0600));
        close(file);
    }
    kill(flipper, 9); waitpid(flipper, 0, 0);
    return 0;
}"#;
    let (record, out) = run("exchanged", "open:write", OPENS);
    let opens = record.of(EventType::Open).into_iter();
    let opens = opens.filter(|event| event.kind.file().unwrap().name == "file");
    let opens: Vec<_> = opens.skip(2).collect();
    let real: Vec<u64> = out.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!((opens.len(), real.len()), (400, 400));
    for (event, real) in opens.iter().zip(&real) {
        let is_it = event.kind.file().unwrap().inode == *real;
        assert!(is_it || !is_seen(event.outcome), "{real}: {event:?}");
    }
    let seen = opens.iter().filter(|event| is_seen(event.outcome));
    assert!(
        seen.count() > 100,
        "most stay open until they are looked at"
    );
}
