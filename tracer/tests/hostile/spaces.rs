//! Name spaces of a program's own.

use super::*;

/// In a PID name space of its own a process has another number, and `/proc/self` leads to that.
#[test]
fn a_path_through_its_own_proc_is_followed() {
    need_root();
    let record = record("own-proc", "exec,open", |scratch| {
        let [one, two] = ["one", "two"].map(|name| scratch.text(name));
        std::fs::write(&one, "").unwrap();
        std::fs::write(&two, "").unwrap();
        format!(
            "unshare --user --map-root-user --mount --pid --fork --mount-proc \
             sh -c 'cat /proc/self/root{one}; cat /proc/thread-self/root{two}; /proc/self/root/bin/true'"
        )
    });
    for name in ["one", "two"] {
        let opens = record.paths(EventType::Open);
        let is_it =
            |path: &&String| path.ends_with(&format!("/{name}")) && !path.contains("/proc/");
        assert_eq!(opens.iter().filter(is_it).count(), 1, "{name}: {opens:?}");
    }
    let (_, image) = record.exec("/bin/true");
    assert!(
        image.file.path.ends_with("/bin/true") && !image.file.path.contains("/proc/"),
        "{image:?}"
    );
}
