//! Calls that cannot succeed, whatever their names lead to.

use std::os::unix::fs::PermissionsExt;

use super::*;

/// An empty name means nothing but where a flag says that it means the descriptor; a directory is not
/// opened to be written to, though something has just been made in it.
#[test]
fn empty_names_and_directories_that_cannot_be_written_to_are_not_told() {
    let scratch = Scratch::new("empty-names");
    let program = build(
        &scratch,
        "program",
        &["-D_GNU_SOURCE", "-Wno-nonnull"],
        r#"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>
#define FAILS(call, error) if ((call) != -1 || errno != error) return __LINE__
int main(int argc, char **argv) {
    if (chdir(argv[1])) return 1;
    int here = open(".", O_PATH);
    FAILS(open("", O_CREAT | O_WRONLY, 0600), ENOENT);
    FAILS(open("", O_RDONLY), ENOENT);
    FAILS(openat(here, "", O_RDWR), ENOENT);
    FAILS(chmod("", 0700), ENOENT);
    FAILS(chown("", 0, 0), ENOENT);
    FAILS(fchownat(here, "", 0, 0, 0), ENOENT);
    FAILS(utimensat(AT_FDCWD, "", 0, 0), ENOENT);
    FAILS(setxattr("", "user.x", "x", 1, 0), ENOENT);
    FAILS(rename("", "other"), ENOENT);
    FAILS(unlink(""), ENOENT);
    FAILS(rmdir(""), ENOENT);
    FAILS(linkat(here, "", here, "other", 0), ENOENT);
    FAILS(mkdir("", 0700), ENOENT);
    FAILS(truncate("", 0), ENOENT);
    int file = open("file", O_CREAT | O_WRONLY, 0600);
    FAILS(open(".", O_CREAT | O_WRONLY, 0600), EISDIR);
    FAILS(open(argv[1], O_RDWR), EISDIR);
    FAILS(open(argv[1], O_TRUNC), EISDIR);
    if (fchownat(file, "", 0, 0, AT_EMPTY_PATH)) return 2;
    syscall(SYS_utimensat, file, "", 0, AT_EMPTY_PATH); // EINVAL before Linux 5.8
    int nameless = open(argv[1], O_TMPFILE | O_WRONLY, 0600);
    if (nameless < 0 || linkat(nameless, "", AT_FDCWD, "named", AT_EMPTY_PATH)) return 3;
    return 0;
}"#,
    );
    let here = scratch.text("here");
    std::fs::create_dir(&here).unwrap();
    need_root();
    let agent = Agent::start(&scratch);
    let interest = "open,chmod,chown,utimes,setxattr,rename,unlink,rmdir,link,mkdir";
    let output = output(&mut traced(&agent, interest, &[&program, &here]));
    assert!(output.status.success(), "{:?}", output.status);
    let record = agent.finish();
    let told = |kind| {
        let events = record.of(kind).into_iter();
        let paths = events.map(|event| event.kind.file().unwrap().path.clone());
        let ours = paths.filter(|path| path.is_empty() || path.starts_with(&here));
        ours.collect::<Vec<_>>()
    };
    let file = format!("{here}/file");
    let opened = told(EventType::Open);
    // The directory for its place, and for a file without a name.
    assert_eq!(opened[..2], [here.clone(), file.clone()]);
    assert_eq!(opened.len(), 3, "{opened:?}");
    assert_eq!(told(EventType::Chown), [file.as_str()]);
    assert!(told(EventType::Utimes).iter().all(|path| *path == file));
    assert_eq!(told(EventType::Link).len(), 1);
    for kind in [
        EventType::Chmod,
        EventType::SetXattr,
        EventType::Rename,
        EventType::Unlink,
        EventType::Rmdir,
        EventType::Mkdir,
    ] {
        assert_eq!(told(kind), [""; 0], "{kind:?}");
    }
}

/// What a process has open already, and what was made a moment ago, does not make an open that fails one
/// that is seen.
#[test]
fn an_open_that_fails_is_not_said_to_be_seen() {
    need_root();
    let scratch = Scratch::new("open-fails");
    let program = build(
        &scratch,
        "program",
        &["-D_GNU_SOURCE"],
        r#"
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#define FAILS(call, error) if ((call) != -1 || errno != error) return __LINE__
#define WORKS(call) if ((call) == -1) return __LINE__
int main(int argc, char **argv) {
    WORKS(chdir(argv[1]));
    WORKS(mkfifo("wait", 0600));
    // A lock that was taken a moment ago, and is held.
    WORKS(open("lock", O_CREAT | O_EXCL | O_RDWR, 0600));
    FAILS(open("lock", O_CREAT | O_EXCL | O_RDWR, 0600), EEXIST);
    FAILS(open("lock", O_CREAT | O_EXCL | O_WRONLY, 0600), EEXIST);
    // A program that runs and is open to be read.
    WORKS(open("busy", O_RDONLY));
    int child = fork();
    if (!child) execl("./busy", "busy", NULL);
    int ready = open("wait", O_RDONLY);
    if (ready == -1) return __LINE__;
    FAILS(open("busy", O_WRONLY), ETXTBSY);
    kill(child, SIGKILL);
    WORKS(waitpid(child, NULL, 0));
    WORKS(open("both", O_RDONLY));
    WORKS(open("both", O_RDWR));
    // A file of root's, which is open since.
    WORKS(open("secret", O_RDONLY));
    WORKS(chmod(argv[1], 0777));
    WORKS(setgroups(0, NULL));
    WORKS(setresgid(1, 1, 1));
    WORKS(setresuid(1, 1, 1));
    WORKS(close(open("own", O_CREAT | O_WRONLY, 0644)));
    FAILS(open("secret", O_RDWR), EACCES);
    return 0;
}"#,
    );
    let here = scratch.text("here");
    std::fs::create_dir(&here).unwrap();
    for name in ["secret", "both"] {
        let path = format!("{here}/{name}");
        std::fs::write(&path, "x").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    let busy = r#"
#include <fcntl.h>
#include <unistd.h>
int main(void) { open("wait", O_WRONLY); for (;;) pause(); }"#;
    let busy = build(&scratch, "busy", &[], busy);
    std::fs::copy(busy, format!("{here}/busy")).unwrap();
    let agent = Agent::start(&scratch);
    let output = output(&mut traced(&agent, "open", &[&program, &here]));
    assert!(output.status.success(), "{:?}", output.status);
    let record = agent.finish();
    let mut seen = Vec::new();
    for event in record.of(EventType::Open) {
        let EventKind::Open { file, flags, .. } = &event.kind else {
            unreachable!()
        };
        let is_seen = matches!(event.outcome, Outcome::Succeeded | Outcome::Returned(0..));
        let writes = flags & (libc::O_ACCMODE | libc::O_CREAT) as u32 != 0;
        if is_seen && writes && file.path.starts_with(&here) && file.name != "wait" {
            seen.push((file.name.to_string(), *flags as i32));
        }
    }
    let expected = [
        ("lock", libc::O_CREAT | libc::O_EXCL | libc::O_RDWR),
        ("both", libc::O_RDWR),
        ("own", libc::O_CREAT | libc::O_WRONLY),
    ];
    assert_eq!(seen, expected.map(|(name, flags)| (name.to_owned(), flags)));
}
