use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, Instant};

use super::*;

fn scratch(name: &str) -> std::path::PathBuf {
    let path = std::env::temp_dir().join(format!("picket-watched-{}-{name}", std::process::id()));
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).unwrap();
    path.canonicalize().unwrap()
}

fn watching(patterns: &[String]) -> Watched {
    let mut watched = Watched::new();
    watched.set(patterns.to_vec());
    watched
}

/// Takes in what has happened, until it includes the opening of this file.
fn sees(watched: &mut Watched, path: &Path) -> bool {
    use std::os::unix::ffi::OsStrExt;
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(60) {
        File::open(path).unwrap();
        let opened = watched.opened();
        if opened
            .iter()
            .any(|file| file.path == path.as_os_str().as_bytes())
        {
            return true;
        }
        watched.search_if_due();
        std::thread::yield_now();
    }
    false
}

#[test]
fn a_star_stands_for_any_part_of_a_name() {
    for (part, name, expected) in [
        ("shadow", "shadow", true),
        ("shadow", "shadow-", false),
        ("id_*", "id_rsa", true),
        ("id_*", "known", false),
        ("*.key", "a.key", true),
        ("a*b*c", "a1b2c", true),
        ("a*b*c", "a1c2b", false),
        ("*", "", true),
        ("**", "any", true),
    ] {
        assert_eq!(
            fits(part.as_bytes(), name.as_bytes()),
            expected,
            "{part} {name}"
        );
    }
}

#[test]
fn only_files_that_fit_are_told_and_only_once_for_what_was_together() {
    let home = scratch("fit");
    let (secret, other) = (home.join("secret"), home.join("other"));
    fs::write(&secret, "x").unwrap();
    fs::write(&other, "x").unwrap();
    let mut watched = watching(&[secret.display().to_string()]);
    for _ in 0..3 {
        File::open(&secret).unwrap();
        File::open(&other).unwrap();
    }
    let opened: Vec<_> = watched.opened().into_iter().map(|file| file.path).collect();
    assert_eq!(opened, [secret.display().to_string().into_bytes()]);
    assert!(watched.opened().is_empty());
    fs::remove_dir_all(home).unwrap();
}

#[test]
fn files_that_come_later_and_new_ones_under_an_old_name_are_watched() {
    let home = scratch("later");
    let patterns =
        ["a/.ssh/id_*", "deep/**"].map(|pattern| home.join(pattern).display().to_string());
    let mut watched = watching(&patterns);
    let key = home.join("a/.ssh/id_rsa");
    fs::create_dir_all(key.parent().unwrap()).unwrap();
    fs::write(&key, "x").unwrap();
    assert!(sees(&mut watched, &key));

    let replacement = home.join("new");
    fs::write(&replacement, "y").unwrap();
    fs::rename(&replacement, &key).unwrap();
    assert!(sees(&mut watched, &key));

    let below = home.join("deep/one/two/token");
    fs::create_dir_all(below.parent().unwrap()).unwrap();
    fs::write(&below, "x").unwrap();
    assert!(sees(&mut watched, &below));
    fs::remove_dir_all(home).unwrap();
}

#[test]
fn what_is_not_asked_for_any_more_is_not_told() {
    let home = scratch("less");
    let secret = home.join("secret");
    fs::write(&secret, "x").unwrap();
    let mut watched = watching(&[secret.display().to_string()]);
    watched.set(Vec::new());
    watched.opened(); // that the watches have ended
    File::open(&secret).unwrap();
    assert!(watched.opened().is_empty());
    fs::remove_dir_all(home).unwrap();
}

#[test]
fn the_number_of_watches_is_bounded() {
    let home = scratch("many");
    for number in 0..100 {
        let directory = home.join(format!("{number}/inner"));
        fs::create_dir_all(&directory).unwrap();
        for file in 0..10 {
            fs::write(directory.join(file.to_string()), "x").unwrap();
        }
    }
    let watched = watching(&[home.join("**").display().to_string()]);
    assert!(watched.files.len() <= FILES_MAX && !watched.files.is_empty());
    assert!(watched.directories.len() <= DIRECTORIES_MAX);
    fs::remove_dir_all(home).unwrap();
}

#[test]
fn what_does_not_fit_is_counted_and_what_a_rule_names_comes_first() {
    let home = scratch("crowd");
    fs::create_dir(home.join("a")).unwrap();
    for file in 0..300 {
        fs::write(home.join("a").join(file.to_string()), "x").unwrap();
    }
    fs::write(home.join("secret"), "x").unwrap();
    let patterns = ["a/*", "b/*", "secret"].map(|name| home.join(name).display().to_string());
    let watched = watching(&patterns);
    assert_eq!(watched.files.len(), FILES_MAX);
    let secret = fs::metadata(home.join("secret")).unwrap();
    use std::os::unix::fs::MetadataExt;
    assert!(watched.holds(secret.dev(), secret.ino()));
    let told = watched.missing().told();
    assert_eq!(told.len(), 1);
    // 300, one of 256 places being taken, and the folder's rest, which is not looked at.
    assert_eq!(
        (told[0].reason, told[0].count),
        (UnwatchedReason::TooMany, 2)
    );
    assert!(watching(&patterns[1..]).missing().is_nothing());
    fs::remove_dir_all(home).unwrap();
}

#[test]
fn a_file_that_becomes_readable_is_looked_for_again() {
    use std::os::unix::fs::PermissionsExt;
    let home = scratch("mode");
    let secret = home.join("secret");
    fs::write(&secret, "x").unwrap();
    let mut watched = watching(&[secret.display().to_string()]);
    assert_eq!(watched.search_at(), None);
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).unwrap();
    watched.opened();
    assert!(watched.search_at().is_some());
    fs::remove_dir_all(home).unwrap();
}

/// Opens of the same file one after the other are one; of two in turn, each is kept, up to the kernel's limit.
#[test]
fn more_opens_than_the_kernel_keeps_are_said_to_be_missed_once() {
    let home = scratch("flood");
    let files = [home.join("one"), home.join("other")];
    files.iter().for_each(|file| fs::write(file, "x").unwrap());
    let pattern = home.join("*").display().to_string();
    let mut watched = watching(std::slice::from_ref(&pattern));
    assert!(watched.missing().is_nothing());
    let kept = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let kept: usize = kept.trim().parse().unwrap();
    for _ in 0..=kept / 2 {
        files
            .iter()
            .for_each(|file| drop(File::open(file).unwrap()));
    }
    watched.opened();
    let searches_until = |watched: &mut Watched, is_missing: bool| {
        let start = Instant::now();
        while watched.missing().is_nothing() == is_missing {
            assert!(start.elapsed() < Duration::from_secs(60));
            watched.search_if_due();
            std::thread::yield_now();
        }
    };
    searches_until(&mut watched, true);
    let told = watched.missing().told();
    assert_eq!(told.len(), 1);
    assert_eq!(
        (told[0].reason, &told[0].paths),
        (UnwatchedReason::Overflowed, &vec![pattern])
    );
    searches_until(&mut watched, false);
    assert!(sees(&mut watched, &files[0]));
    fs::remove_dir_all(home).unwrap();
}
