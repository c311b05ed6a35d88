//! Secrets that others take the place of, as Kubernetes does it.

use super::*;

/// The kubelet renames a link to a folder over the old one and removes what that led to. A program that
/// keeps the old file open keeps it from being gone.
#[test]
fn a_secret_that_is_replaced_while_the_old_one_is_held_open_is_watched() {
    let scratch = Scratch::new("reads-replaced");
    let token = scratch.text("token");
    let script = r#"
import os, sys
os.chdir(sys.argv[1])
def project(number):
    folder = f"..{number}"
    os.mkdir(folder)
    with open(f"{folder}/token", "w") as file: file.write(str(number))
    os.symlink(folder, "..data_tmp")
    os.rename("..data_tmp", "..data")
project(1)
os.symlink("..data/token", "token")
held = []
def read(until):
    # Quietly, and held until the tracer has looked.
    while not os.path.exists(until):
        held.append(os.open("token", os.O_RDONLY | os.O_CLOEXEC))
        import time; time.sleep(0.02)
        if len(held) > 5: os.close(held.pop())
read("first")
for number in (2, 3):
    project(number)
    os.unlink(f"..{number - 1}/token"); os.rmdir(f"..{number - 1}")
    read(f"done-{number}")
"#;
    let agent = Agent::start(&scratch);
    let folder = scratch.text("");
    let mut child = start(&mut traced(
        &agent,
        INTEREST,
        &["python3", "-c", script, &folder],
    ));
    watch(&agent, std::slice::from_ref(&token));
    let inode = |number: u32| {
        use std::os::unix::fs::MetadataExt;
        let path = scratch.path(&format!("..{number}/token"));
        std::fs::metadata(path).map(|found| found.ino())
    };
    for (number, done) in [(1, "first"), (2, "done-2"), (3, "done-3")] {
        eventually("the secret", || inode(number).is_ok());
        let wanted = inode(number).unwrap();
        agent.until(&format!("a read of secret {number}"), |record| {
            let mut of = record.of(EventType::Open).into_iter();
            // As what is watched is told: how it was opened is not known.
            of.any(|event| matches!(&event.kind, EventKind::Open { file, flags: 0, .. } if file.inode == wanted))
        });
        std::fs::write(scratch.path(done), "").unwrap();
    }
    assert!(wait(&mut child).success());
    agent.finish();
}
