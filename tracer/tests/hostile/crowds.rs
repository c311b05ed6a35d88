//! More processes than the tracer has descriptors for.

use super::*;

/// What a process does is told, and when it ends, also where no descriptor can be kept for it.
#[test]
fn more_processes_than_descriptors_hide_nothing() {
    let scratch = Scratch::new("crowd");
    let agent = Agent::start(&scratch);
    let read = scratch.text("read");
    std::fs::write(&read, "").unwrap();
    let crowd = format!(
        "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
            for j in 1 2 3 4 5 6 7 8; do sleep 60 & all=\"$all $!\"; done
        done
        cat {read}; /bin/echo done; kill $all; wait; exec sleep 3"
    );
    let inner = traced(&agent, "exec,exit,open", &sh(&crowd));
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "ulimit -n 128; exec \"$0\" \"$@\""]);
    command.arg(inner.get_program()).args(inner.get_args());
    let mut child = start(command.stdout(Stdio::null()).stderr(Stdio::null()));
    let sleeps = |record: &Record| -> Vec<u32> {
        let images = record.images().into_iter();
        let sleeps = images.filter(|(_, image)| image.argv == ["sleep", "60"]);
        sleeps.map(|(event, _)| event.pid).collect()
    };
    let record = agent.until("the end of all of them", |record| {
        let ended: Vec<u32> = record
            .of(EventType::Exit)
            .iter()
            .map(|event| event.pid)
            .collect();
        let all = sleeps(record);
        all.len() == 160 && all.iter().all(|pid| ended.contains(pid))
    });
    assert_eq!(record.exec("/bin/echo").1.argv, ["/bin/echo", "done"]);
    record.about(EventType::Open, &read);
    assert!(wait(&mut child).success());
}
