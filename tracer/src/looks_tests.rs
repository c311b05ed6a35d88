use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use picket_events::Credentials;

use super::*;
use crate::sys::poll::{Poller, Space};

struct Tree(PathBuf);

impl Tree {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("picket-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(path.join("one/deep")).unwrap();
        std::fs::write(path.join("one/deep/file"), "text").unwrap();
        Self(path.canonicalize().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
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
        directory: None,
        follows: true,
    };
    let at = Located {
        path: path.as_os_str().as_bytes().to_vec(),
        descriptor: None,
        follow: true,
        fault: None,
        below: None,
    };
    looks.look(&view, &at, &Mounts::new()).1
}

fn bytes(path: PathBuf) -> Vec<u8> {
    path.into_os_string().as_bytes().to_vec()
}

/// Takes note of what inotify has to tell, as the worker does before each notification.
fn was_told(looks: &mut Looks) -> bool {
    let poller = Poller::new().unwrap();
    poller.add(looks.descriptor().unwrap(), 1).unwrap();
    let is_told = !poller.wait(&mut Space::new(), 0).is_empty();
    if is_told {
        looks.changed();
    }
    is_told
}

#[test]
fn what_is_missing_below_a_known_directory_is_found_missing_there() {
    let tree = Tree::new("looks-missing");
    let path = tree.path("one/none/deeper/file");
    let mut looks = Looks::new();
    let first = look(&mut looks, &path);
    assert!(first.is_missing());
    assert_eq!(first.path, bytes(path.clone()));
    for _ in 0..3 {
        assert_eq!(look(&mut looks, &path), first);
        assert!(looks.is_known(&bytes(tree.path("one"))));
    }
    assert_eq!(looks.places.len(), 1);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    assert!(look(&mut looks, &path).is_missing());
    std::fs::write(&path, "").unwrap();
    assert_eq!(look(&mut looks, &path).metadata.unwrap().links, 1);
}

#[test]
fn a_directory_is_kept_when_it_is_met_again() {
    let tree = Tree::new("looks-kept");
    let path = tree.path("one/deep/file");
    let mut looks = Looks::new();
    let first = look(&mut looks, &path);
    assert!(looks.places.is_empty());
    for _ in 0..3 {
        assert_eq!(look(&mut looks, &path), first);
        assert_eq!(looks.places.len(), 1);
    }
    assert_eq!(first.path, bytes(path));
    assert!(look(&mut looks, &tree.path("one/deep/none")).is_missing());
    std::fs::write(tree.path("one/deep/none"), "").unwrap();
    let made = look(&mut looks, &tree.path("one/deep/none"));
    assert_eq!(made.metadata.unwrap().links, 1);
    assert!(!was_told(&mut looks), "what is in it may change");
}

#[test]
fn another_name_of_a_directory_above_is_noticed() {
    let tree = Tree::new("looks-renamed");
    symlink(tree.path("one"), tree.path("link")).unwrap();
    let mut looks = Looks::new();
    for _ in 0..3 {
        let found = look(&mut looks, &tree.path("link/deep/file"));
        assert_eq!(found.path, bytes(tree.path("one/deep/file")));
    }
    assert_eq!(looks.places.len(), 1);
    std::fs::rename(tree.path("one"), tree.path("two")).unwrap();
    assert!(was_told(&mut looks));
    symlink(tree.path("two"), tree.path("new")).unwrap();
    std::fs::rename(tree.path("new"), tree.path("link")).unwrap();
    for _ in 0..3 {
        let found = look(&mut looks, &tree.path("link/deep/file"));
        assert_eq!(found.path, bytes(tree.path("two/deep/file")));
    }
}

#[test]
fn a_link_that_leads_elsewhere_is_noticed() {
    let tree = Tree::new("looks-link");
    std::fs::create_dir_all(tree.path("other/deep")).unwrap();
    std::fs::write(tree.path("other/deep/file"), "").unwrap();
    symlink(tree.path("one"), tree.path("link")).unwrap();
    let mut looks = Looks::new();
    for target in ["other", "one", "other"] {
        for _ in 0..3 {
            look(&mut looks, &tree.path("link/deep/file"));
        }
        assert_eq!(looks.places.len(), 1);
        symlink(tree.path(target), tree.path("new")).unwrap();
        std::fs::rename(tree.path("new"), tree.path("link")).unwrap();
        assert!(was_told(&mut looks));
        let found = look(&mut looks, &tree.path("link/deep/file"));
        assert_eq!(found.path, bytes(tree.path(target).join("deep/file")));
    }
}

#[test]
fn a_link_in_a_known_directory_is_followed() {
    let tree = Tree::new("looks-final");
    symlink("/proc/self/status", tree.path("one/deep/link")).unwrap();
    let mut looks = Looks::new();
    for _ in 0..3 {
        let found = look(&mut looks, &tree.path("one/deep/link"));
        let own = format!("/proc/{}/status", std::process::id());
        assert_eq!(found.path, own.as_bytes());
    }
    assert_eq!(looks.places.len(), 1);
}

#[test]
fn only_plain_paths_are_kept() {
    for path in ["", "/a", "/a/b"] {
        assert!(is_clean(path.as_bytes()), "{path}");
    }
    for path in ["a", "/a/..", "/a/./b", "//a", "/a/"] {
        assert!(!is_clean(path.as_bytes()), "{path}");
    }
}
