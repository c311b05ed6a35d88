//! Calls that cannot succeed, whatever their names lead to.

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
