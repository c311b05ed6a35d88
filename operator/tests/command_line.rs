//! The process, as far as it gets without a cluster.

use std::process::{Command, Output};

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_picket-operator"))
        .args(arguments)
        .env_clear()
        .env("HOME", "/nonexistent")
        .output()
        .expect("the binary starts")
}

#[test]
fn a_bad_value_ends_the_process_with_the_flag_and_the_remedy() {
    let image = "--sidecar-image=registry.example/picket:1";
    let cases: [(&[&str], &str, &str); 5] = [
        (&[], "--sidecar-image", "Usage"),
        (
            &["--sidecar-image=a b"],
            "--sidecar-image: `a b`",
            "give it as",
        ),
        (
            &[image, "--webhook-port=10250"],
            "--webhook-port: 10250",
            "choose another",
        ),
        (&[image, "--webhook-port=99999"], "99999", "--webhook-port"),
        (&[image, "--log=a=b=c"], "--log", "not a filter"),
    ];
    for (arguments, problem, remedy) in cases {
        let output = run(arguments);
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{arguments:?}");
        assert!(message.contains(problem), "{arguments:?}: {message}");
        assert!(message.contains(remedy), "{arguments:?}: {message}");
    }
}

#[test]
fn without_a_cluster_it_says_what_it_needs() {
    let output = run(&["--sidecar-image=a:1", "--webhook-port=0", "--health-port=0"]);
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(message.contains("set KUBECONFIG"), "{message}");
}
