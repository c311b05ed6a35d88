use super::walk::is_magic;
use super::*;
use std::os::unix::fs::symlink;

struct Tree(std::path::PathBuf);

impl Tree {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("picket-{name}-{}", std::process::id()));
        std::fs::create_dir_all(path.join("sub")).unwrap();
        let path = path.canonicalize().unwrap();
        std::fs::write(path.join("file"), "x").unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> Vec<u8> {
        self.0.join(name).into_os_string().into_encoded_bytes()
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A child whose directory and descriptors differ from ours.
struct Other(std::process::Child);

impl Other {
    fn start(tree: &Tree) -> Self {
        let file = std::fs::File::open(tree.0.join("file")).unwrap();
        let mut command = std::process::Command::new("sleep");
        command
            .arg("60")
            .current_dir(tree.0.join("sub"))
            .stdin(file);
        Self(command.spawn().unwrap())
    }

    fn resolve(&self, path: &[u8], follow: bool) -> Resolved {
        self.in_root(&Root::Ours, path, follow)
    }

    fn in_root(&self, root: &Root, path: &[u8], follow: bool) -> Resolved {
        let credentials = Credentials::default();
        let pid = self.0.id();
        View {
            pid,
            tid: pid,
            root,
            credentials: &credentials,
            directory: None,
            follows: true,
        }
        .resolve(path, follow)
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn links_and_dots_lead_to_the_canonical_path() {
    let tree = Tree::new("links");
    let other = Other::start(&tree);
    symlink("../file", tree.0.join("sub/relative")).unwrap();
    symlink(tree.0.join("file"), tree.0.join("sub/absolute")).unwrap();
    symlink("loop", tree.0.join("loop")).unwrap();
    for name in ["sub/relative", "sub/absolute", "sub/.././/sub/../file"] {
        assert_eq!(
            other.resolve(&tree.path(name), true).path,
            tree.path("file"),
            "{name}"
        );
    }
    let link = other.resolve(&tree.path("sub/../sub/relative"), false);
    assert_eq!(link.path, tree.path("sub/relative"));
    assert_eq!(link.metadata.unwrap().mode & libc::S_IFMT, libc::S_IFLNK);
    assert_eq!(
        other.resolve(&tree.path("loop"), true).error,
        Some(Errno(libc::ELOOP))
    );
}

#[test]
fn what_is_not_there_has_the_path_that_it_would_have() {
    let tree = Tree::new("missing");
    let other = Other::start(&tree);
    symlink("..", tree.0.join("sub/up")).unwrap();
    let missing = other.resolve(&tree.path("sub/up/none"), true);
    assert!(missing.is_missing());
    assert_eq!(missing.path, tree.path("none"));
    assert!(other.resolve(&tree.path("file/none"), true).is_missing());
}

#[test]
fn self_means_the_tracee() {
    let tree = Tree::new("self");
    let other = Other::start(&tree);
    let pid = other.0.id();
    // Its own exec may not be over yet.
    while std::fs::read_link(format!("/proc/{pid}/cwd")).ok() != Some(tree.0.join("sub")) {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    symlink("/proc/self/cwd", tree.0.join("here")).unwrap();
    for name in [
        "/proc/self/fd/0",
        "/proc/thread-self/fd/0",
        "/dev/stdin",
        "/dev/fd/0",
    ] {
        assert_eq!(
            other.resolve(name.as_bytes(), true).path,
            tree.path("file"),
            "{name}"
        );
    }
    for name in [
        "/proc/self/cwd/../file",
        "/proc/self/root/../proc/self/cwd/../file",
    ] {
        assert_eq!(
            other.resolve(name.as_bytes(), true).path,
            tree.path("file"),
            "{name}"
        );
    }
    assert_eq!(
        other.resolve(&tree.path("here/../file"), true).path,
        tree.path("file")
    );
    let status = other.resolve(b"/proc/self/status", true);
    assert_eq!(status.path, format!("/proc/{pid}/status").into_bytes());
}

#[test]
fn another_root_is_walked_inside_itself() {
    let tree = Tree::new("root");
    let other = Other::start(&tree);
    symlink("/file", tree.0.join("sub/link")).unwrap();
    let path = CString::new(tree.path("")).unwrap();
    let directory = files::open_path(AT_FDCWD, &path, true, 0).unwrap();
    let prefix = tree.path("").strip_suffix(b"/").unwrap().to_vec();
    let root = Root::Foreign {
        directory: directory.into(),
        prefix,
        is_below_ours: true,
    };
    let found = other.in_root(&root, &root.unstripped(b"/sub/link"), true);
    assert_eq!(found.path, tree.path("file"));
    assert!(found.metadata.is_some());
    for path in ["/../../../file", "/sub/../../file", "/../file"] {
        let found = other.in_root(&root, &root.unstripped(path.as_bytes()), true);
        assert_eq!(found.path, tree.path("file"), "{path}");
    }
    let missing = other.in_root(&root, &root.unstripped(b"/none/../../sub/none"), true);
    assert!(missing.is_missing());
}

/// As after a chroot that left the working directory where it was.
#[test]
fn what_lies_outside_of_a_root_is_walked_there_and_its_links_in_the_root() {
    let tree = Tree::new("outside");
    let other = Other::start(&tree);
    symlink("/inside", tree.0.join("link")).unwrap();
    std::fs::write(tree.0.join("sub/inside"), "x").unwrap();
    let path = CString::new(tree.path("sub")).unwrap();
    let root = Root::Foreign {
        directory: files::open_path(AT_FDCWD, &path, true, 0).unwrap().into(),
        prefix: tree.path("sub"),
        is_below_ours: true,
    };
    for (path, expected) in [
        ("file", "file"),
        ("sub/../../file", "sub/file"),
        ("sub/../inside", "sub/inside"),
        ("sub/../../../inside", "sub/inside"),
        ("link", "sub/inside"),
    ] {
        let found = other.in_root(&root, &tree.path(path), true);
        assert_eq!(found.path, tree.path(expected), "{path}");
    }
}

#[test]
fn only_links_of_processes_are_magic() {
    for path in [
        "/proc/1/root",
        "/proc/1/fd/3",
        "/proc/1/task/2/cwd",
        "/proc/1/ns/mnt",
    ] {
        assert!(is_magic(path.as_bytes()), "{path}");
    }
    for path in [
        "/proc/self/root",
        "/proc/1/status",
        "/proc/mounts",
        "/x/proc/1/root",
        "/proc/1/fd",
    ] {
        assert!(!is_magic(path.as_bytes()), "{path}");
    }
}
