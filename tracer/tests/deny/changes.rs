//! Changes to files.

use super::*;

#[test]
fn changes_are_denied_by_path_and_others_are_made() {
    let kinds = [
        EventType::Unlink,
        EventType::Rmdir,
        EventType::Rename,
        EventType::Mkdir,
        EventType::Chmod,
        EventType::Chown,
        EventType::Link,
    ];
    let denied = Denied::start_as(
        "changes",
        "unlink,rmdir,rename,mkdir,chmod,chown,link",
        &[],
        r#"
for d in ["kept", "free"]:
    base = here + "/" + d
    open(base + "-old", "w").close()
    print(*[
        got(os.unlink, base + "/file"),
        got(os.rmdir, base + "/empty"),
        got(os.rename, base + "/from", base + "/to"),
        got(os.mkdir, base + "/new", 0o777),
        got(os.chmod, base + "/mode", 0o600),
        got(os.chown, base + "/mode", os.getuid(), os.getgid()),
        got(os.link, base + "/mode", base + "/hard"),
        got(os.unlink, base + "/nothing"),
    ])
print(got(os.symlink, "text", here + "/free/soft"), os.readlink(here + "/free/soft"),
      oct(stat.S_IMODE(os.stat(here + "/free/new").st_mode)), got(os.mkdir, here + "/free/new"),
      got(os.rmdir, here + "/free/to"), os.path.samefile(here + "/free/mode", here + "/free/hard"))
"#,
        |scratch| {
            for directory in ["kept", "free"] {
                std::fs::create_dir_all(scratch.path(&format!("here/{directory}/empty"))).unwrap();
                for name in ["file", "from", "mode"] {
                    std::fs::write(scratch.path(&format!("here/{directory}/{name}")), "").unwrap();
                }
            }
            let pattern = scratch.text("here/kept/**");
            kinds.map(|kind| rule(kind, &pattern)).to_vec()
        },
    );
    let kept = denied.here("kept/");
    let (said, record) = denied.end();
    let mut lines = said.lines();
    assert_eq!(
        lines.next(),
        Some("EPERM EPERM EPERM EPERM EPERM EPERM EPERM EPERM")
    );
    assert_eq!(
        lines.next(),
        Some("done done done done done done done ENOENT")
    );
    assert_eq!(lines.next(), Some("done text 0o755 EEXIST ENOTDIR True"));
    for kind in kinds {
        let refused = refused(&record, kind);
        assert!(
            refused.iter().any(|path| path.starts_with(&kept)),
            "{kind:?}: {:#?}",
            record.of(kind)
        );
    }
    let free = record.of(EventType::Rename).into_iter();
    let moved: Vec<_> = free.filter(|event| event.outcome != REFUSED).collect();
    assert_eq!(moved.len(), 1, "{moved:?}");
    let EventKind::Rename { to, .. } = &moved[0].kind else {
        unreachable!()
    };
    assert!(to.path.ends_with("/free/to"), "{to:?}");
}

/// A file that is made without being opened is judged as an open that makes it.
#[test]
fn making_files_that_are_not_opened_is_denied_as_opens_that_make_them_are() {
    let denied = Denied::start_as(
        "making",
        "open:write",
        &[],
        r#"
os.umask(0o22)
for d in ["kept", "free"]:
    base = here + "/" + d
    print(*[
        got(os.mknod, base + "/empty", 0o666 | stat.S_IFREG),
        got(os.mkfifo, base + "/fifo", 0o600),
        got(os.mknod, base + "/old", 0o600 | stat.S_IFREG),
        os.path.exists(base + "/empty"),
    ])
print(oct(os.stat(here + "/free/empty").st_mode), oct(os.stat(here + "/free/fifo").st_mode))
"#,
        |scratch| {
            for directory in ["kept", "free"] {
                std::fs::create_dir_all(scratch.path(&format!("here/{directory}"))).unwrap();
                std::fs::write(scratch.path(&format!("here/{directory}/old")), "").unwrap();
            }
            vec![rule(EventType::Open, &scratch.text("here/kept/**"))]
        },
    );
    let kept = denied.here("kept/");
    let (said, record) = denied.end();
    assert_eq!(
        said.lines().collect::<Vec<_>>(),
        [
            "EPERM EPERM EPERM False",
            "done done EEXIST True",
            "0o100644 0o10600"
        ]
    );
    let told = refused(&record, EventType::Open);
    assert_eq!(told, ["empty", "fifo"].map(|name| format!("{kept}{name}")));
}
