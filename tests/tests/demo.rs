//! `picket demo`, as `make demo` runs it: the product's own static binaries, as root and not.

use std::process::{Command, Output};

use picket_tests::product;

fn text(output: &Output) -> String {
    let stdout = String::from_utf8_lossy(&output.stdout);
    format!("{stdout}{}", String::from_utf8_lossy(&output.stderr))
}

fn demo(arguments: &[&str]) -> Output {
    let mut command = Command::new(product("picket"));
    command.arg("demo").args(arguments);
    command.output().expect("the demo runs")
}

#[test]
fn an_attack_gives_exactly_its_three_findings() {
    let output = demo(&[]);
    assert!(output.status.success(), "{}", text(&output));
    let text = text(&output);
    assert!(text.contains("3 findings, 3 expected"), "{text}");
    // The tree of the first: the shop, and the shell that it should not have started.
    assert!(text.contains("└─ /app/shop serve"), "{text}");
}

#[test]
fn honest_visitors_give_none() {
    let output = demo(&["--benign"]);
    assert!(output.status.success(), "{}", text(&output));
    let text = text(&output);
    assert!(text.contains("0 findings, 0 expected"), "{text}");
}

#[test]
fn it_needs_no_root() {
    // Binaries may lie below a folder that only root may enter.
    let folder = tempfile::tempdir().expect("a folder");
    for name in [
        "picket",
        "picket-tracer",
        "picket-agent",
        "picket-demo-shop",
    ] {
        std::fs::copy(product(name), folder.path().join(name)).expect("a copy");
    }
    let opened = Command::new("chmod")
        .args(["-R", "a+rX"])
        .arg(folder.path())
        .status();
    assert!(opened.expect("chmod runs").success());
    let output = Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .arg(folder.path().join("picket"))
        .arg("demo")
        .current_dir("/")
        .output()
        .expect("setpriv runs");
    assert!(output.status.success(), "{}", text(&output));
}

#[test]
fn a_missing_binary_is_named_with_the_remedy() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = demo(&["--binaries", folder.path().to_str().expect("UTF-8")]);
    assert_eq!(output.status.code(), Some(1));
    let text = text(&output);
    assert!(
        text.contains("picket-tracer") && text.contains("make build"),
        "{text}"
    );
}
