use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use picket_events::Credentials;

use super::*;

struct Tree(PathBuf);

impl Tree {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("picket-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(path.join("one/deep")).unwrap();
        Self(path.canonicalize().unwrap())
    }

    /// A file that has not changed for long.
    fn file(&self, name: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, "text").unwrap();
        path
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn look(looks: &mut Looks, path: &Path) -> Resolved {
    let view = View {
        pid: std::process::id(),
        tid: std::process::id(),
        root: &Root::Ours,
        credentials: &Credentials::default(),
    };
    let at = Located {
        path: path.as_os_str().as_bytes().to_vec(),
        descriptor: None,
        follow: true,
        fault: None,
    };
    looks.look(&view, &at, &Mounts::default()).1
}

fn kept(looks: &Looks) -> usize {
    looks.places.iter().map(HashMap::len).sum()
}

/// Nothing that changed a moment ago is kept, so each test waits once.
fn settle() {
    std::thread::sleep(std::time::Duration::from_nanos(SETTLED) * 2);
}

#[test]
fn a_file_is_kept_once_all_above_it_is_watched() {
    let tree = Tree::new("looks-kept");
    let path = tree.file("one/deep/file");
    let mut looks = Looks::new();
    look(&mut looks, &path);
    look(&mut looks, &path);
    assert_eq!(kept(&looks), 0, "it has just changed");
    settle();
    let first = look(&mut looks, &path);
    assert_eq!(kept(&looks), 0, "its directories were not watched before");
    let second = look(&mut looks, &path);
    assert_eq!(kept(&looks), 1);
    assert_eq!(look(&mut looks, &path), second);
    assert_eq!(first, second);
    assert_eq!(second.path, path.as_os_str().as_bytes());
}

#[test]
fn a_directory_above_that_gets_another_name_is_noticed() {
    let tree = Tree::new("looks-renamed");
    tree.file("one/deep/file");
    std::os::unix::fs::symlink(tree.0.join("one"), tree.0.join("link")).unwrap();
    settle();
    let mut looks = Looks::new();
    let path = tree.0.join("link/deep/file");
    for _ in 0..4 {
        let found = look(&mut looks, &path);
        assert_eq!(
            found.path,
            tree.0.join("one/deep/file").as_os_str().as_bytes()
        );
    }
    assert_eq!(kept(&looks), 1);
    std::fs::rename(tree.0.join("one"), tree.0.join("two")).unwrap();
    std::fs::remove_file(tree.0.join("link")).unwrap();
    std::os::unix::fs::symlink(tree.0.join("two"), tree.0.join("link")).unwrap();
    // Same file, same change time, same path: only inotify tells.
    let poller = crate::sys::poll::Poller::new().unwrap();
    poller.add(looks.descriptor().unwrap(), 1).unwrap();
    let mut space = crate::sys::poll::Space::new();
    assert_eq!(poller.wait(&mut space, 0).len(), 1);
    looks.changed();
    let found = look(&mut looks, &path);
    assert_eq!(
        found.path,
        tree.0.join("two/deep/file").as_os_str().as_bytes()
    );
}

#[test]
fn another_file_at_the_same_path_is_noticed() {
    let tree = Tree::new("looks-replaced");
    let path = tree.file("one/file");
    settle();
    let mut looks = Looks::new();
    let mut before = None;
    for _ in 0..4 {
        before = look(&mut looks, &path).metadata;
    }
    assert_eq!(kept(&looks), 1);
    std::fs::remove_file(&path).unwrap();
    assert!(look(&mut looks, &path).is_missing());
    tree.file("one/file");
    let after = look(&mut looks, &path).metadata.unwrap();
    assert_ne!(before, Some(after));
    std::fs::hard_link(&path, tree.0.join("one/other")).unwrap();
    for _ in 0..4 {
        assert_eq!(look(&mut looks, &path).metadata.unwrap().links, 2);
    }
    assert_eq!(
        kept(&looks),
        0,
        "a file with two names can be in two places"
    );
}
