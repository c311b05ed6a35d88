//! Putting the program into the shared volume.
#![allow(missing_docs)]

mod support;

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use support::*;

fn setup(directory: &str) -> std::process::Output {
    output(Command::new(tracer()).args(["setup", "--dir", directory]))
}

fn names(scratch: &Scratch) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(scratch.path(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn the_copy_is_whole_executable_and_read_only() {
    let scratch = Scratch::new("setup");
    let output = setup(&scratch.text(""));
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(
        (stdout(&output), stderr(&output)),
        (String::new(), String::new())
    );
    let copy = scratch.path("picket-tracer");
    let mode = std::fs::metadata(&copy).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o555);
    assert!(std::fs::read(&copy).unwrap() == std::fs::read(tracer()).unwrap());
    assert_eq!(names(&scratch), ["picket-tracer"]);
}

#[test]
fn nobody_ever_sees_half_of_it() {
    let scratch = Scratch::new("atomic");
    let whole = std::fs::metadata(tracer()).unwrap().len();
    assert!(setup(&scratch.text("")).status.success());
    // While it is replaced again and again, whoever looks sees a whole one, and one that
    // runs can be replaced.
    let copy = scratch.path("picket-tracer");
    let directory = scratch.text("");
    let writer = std::thread::spawn(move || {
        for _ in 0..20 {
            assert!(setup(&directory).status.success());
        }
    });
    while !writer.is_finished() {
        assert_eq!(std::fs::metadata(&copy).unwrap().len(), whole);
        assert!(
            Command::new(&copy)
                .arg("--version")
                .output()
                .unwrap()
                .status
                .success()
        );
    }
    writer.join().unwrap();
    assert_eq!(names(&scratch), ["picket-tracer"]);
}

#[test]
fn what_goes_wrong_is_said_and_leaves_nothing() {
    let scratch = Scratch::new("faults");
    let missing = setup(&scratch.text("no/where"));
    assert_eq!(missing.status.code(), Some(1));
    assert!(
        stderr(&missing).contains("cannot use the directory")
            && stderr(&missing).contains("No such file")
    );
    std::fs::write(scratch.path("file"), "").unwrap();
    assert!(stderr(&setup(&scratch.text("file"))).contains("Not a directory"));
    std::fs::create_dir(scratch.path("picket-tracer")).unwrap();
    std::fs::write(scratch.path("picket-tracer/x"), "").unwrap();
    assert!(stderr(&setup(&scratch.text(""))).contains("cannot replace"));
    assert_eq!(names(&scratch), ["file", "picket-tracer"]);
    assert!(stderr(&output(Command::new(tracer()).arg("setup"))).contains("--dir DIR"));
}

#[test]
fn a_volume_that_is_full_or_read_only_is_named() {
    need_root();
    let scratch = Scratch::new("volume");
    let volume = scratch.text("volume");
    std::fs::create_dir(&volume).unwrap();
    for (options, word) in [("size=64k", "sizeLimit"), ("ro", "read-only")] {
        let script = format!(
            "mount -t tmpfs -o {options} none {volume} && {} setup --dir {volume}; echo $?; ls -A {volume}",
            tracer().display()
        );
        let output = output(Command::new("unshare").args(["--mount", "sh", "-c", &script]));
        assert_eq!(stdout(&output), "1\n", "{}", stderr(&output));
        assert!(stderr(&output).contains(word), "{}", stderr(&output));
    }
    // Another user's directory.
    set_mode(&scratch.path("volume"), 0o755);
    let output = output(
        Command::new("setpriv")
            .args(["--reuid", "1000", "--clear-groups"])
            .arg(tracer())
            .args(["setup", "--dir", &volume]),
    );
    assert!(
        stderr(&output).contains("writable for this user"),
        "{}",
        stderr(&output)
    );
}
