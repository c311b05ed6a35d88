//! A cluster that is not there, does not have Picket, or refuses: each command says where it asked,
//! what is wrong and what to do.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output};

/// What is asked of the cluster, once each.
const COMMANDS: [&[&str]; 4] = [
    &["status"],
    &["findings"],
    &["quarantine", "web-1", "--namespace", "shop"],
    &["doctor", "--cluster"],
];

fn picket(words: &[&str], configuration: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_picket"))
        .args(words)
        .env("KUBECONFIG", configuration)
        .output()
        .expect("picket starts")
}

/// All that was said.
fn said(output: &Output) -> String {
    let of = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    of(&output.stdout) + &of(&output.stderr)
}

/// A kubeconfig for an API server at `address`.
fn configuration(folder: &Path, address: &str) -> std::path::PathBuf {
    let path = folder.join("config");
    let text = format!(
        "{{apiVersion: v1, kind: Config, current-context: x,
           clusters: [{{name: c, cluster: {{server: \"http://{address}\"}}}}],
           users: [{{name: u, user: {{token: x}}}}],
           contexts: [{{name: x, context: {{cluster: c, user: u}}}}]}}"
    );
    std::fs::write(&path, text).expect("a kubeconfig");
    path
}

/// An API server that answers everything with this status. It ends with the test's process.
fn answering(code: u16, message: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address").to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answer(stream, code, message));
        }
    });
    address
}

fn answer(mut stream: TcpStream, code: u16, message: &str) {
    let status = format!(
        r#"{{"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": {code}, "reason": "x", "message": "{message}"}}"#
    );
    let mut lines = BufReader::new(stream.try_clone().expect("a copy")).lines();
    while let Some(Ok(line)) = lines.next() {
        if line.is_empty() {
            break;
        }
    }
    let length = status.len();
    // Whoever has gone away is told nothing.
    let _ = write!(
        stream,
        "HTTP/1.1 {code} x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{status}"
    );
}

#[test]
fn who_does_not_answer_is_named_with_the_reason_and_the_remedy() {
    let folder = tempfile::tempdir().expect("a folder");
    // Nobody listens at the first port of all (TCPMUX).
    let address = "127.0.0.1:1";
    let configuration = configuration(folder.path(), address);
    for words in COMMANDS {
        let output = picket(words, &configuration);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(1), "{words:?}: {said}");
        for part in [address, "Connection refused", "KUBECONFIG"] {
            assert!(said.contains(part), "{words:?} does not say {part}: {said}");
        }
        assert!(!said.contains("the right needed"), "{words:?}: {said}");
    }
}

#[test]
fn who_is_refused_is_told_which_right_is_missing() {
    let folder = tempfile::tempdir().expect("a folder");
    let address = answering(403, "somebody may not do that");
    let configuration = configuration(folder.path(), &address);
    for (words, right) in COMMANDS.into_iter().zip([
        "list on protectionpolicies of picket.dev",
        "create on serviceaccounts/token",
        "patch on pods",
        "NotAllowed",
    ]) {
        let said = said(&picket(words, &configuration));
        for part in ["somebody may not do that", right] {
            assert!(said.contains(part), "{words:?} does not say {part}: {said}");
        }
        assert!(!said.contains("KUBECONFIG"), "{words:?}: {said}");
    }
}

#[test]
fn what_is_not_there_is_said_to_be_missing() {
    let folder = tempfile::tempdir().expect("a folder");
    let address = answering(404, "the server could not find it");
    let configuration = configuration(folder.path(), &address);
    for (words, missing) in COMMANDS.into_iter().zip([
        "Picket is not installed there",
        "OperatorMissing",
        "there is no such pod",
        "CrdMissing",
    ]) {
        let output = picket(words, &configuration);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(1), "{words:?}: {said}");
        assert!(said.contains(missing), "{words:?}: {said}");
        assert!(!said.contains("the right needed"), "{words:?}: {said}");
    }
}

#[test]
fn who_is_not_known_is_told_that_it_is_the_credentials() {
    let folder = tempfile::tempdir().expect("a folder");
    let address = answering(401, "Unauthorized");
    let configuration = configuration(folder.path(), &address);
    for words in [COMMANDS[0], COMMANDS[2]] {
        let said = said(&picket(words, &configuration));
        for part in [address.as_str(), "credentials"] {
            assert!(said.contains(part), "{words:?} does not say {part}: {said}");
        }
    }
}

#[test]
fn a_configuration_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("nowhere");
    for words in COMMANDS {
        let output = picket(words, &path);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(1), "{words:?}: {said}");
        for part in [path.to_str().expect("a path"), "KUBECONFIG"] {
            assert!(said.contains(part), "{words:?} does not say {part}: {said}");
        }
    }
}
