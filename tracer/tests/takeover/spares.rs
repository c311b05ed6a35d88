//! The spare: who becomes the worker where only ancestors may read a process.

use super::*;

/// A tracer without CAP_SYS_PTRACE, as in a container, that keeps a spare.
fn spared(agent: &Agent, command: &[&str]) -> Command {
    let mut run = Command::new("setpriv");
    run.args(["--bounding-set=-sys_ptrace", "--inh-caps=-all"]);
    run.arg(tracer()).arg("trace");
    // Where Yama makes it necessary, the tracer has to see that for itself.
    let scope = std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope");
    if !scope.is_ok_and(|scope| scope.trim() == "1") {
        run.arg("--spare");
    }
    run.args(["--interest", "exec,open", "--socket"]);
    run.arg(&agent.socket).arg("--").args(command);
    run.stdin(Stdio::null());
    run
}

/// The tracer's processes below the one that was started, with their names.
fn below(pid: u32) -> Vec<(u32, String)> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let children = children.unwrap_or_default();
    let children = children.split_whitespace().map(|pid| pid.parse().unwrap());
    children
        .map(|pid: u32| {
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            (pid, name.trim().to_owned())
        })
        .collect()
}

/// The worker below the spare of a tracer.
fn worker_of_spare(keeper: u32) -> (u32, u32) {
    let found = std::cell::Cell::new(None);
    // The spare takes its name once the program is on its way.
    eventually("spare and worker", || {
        let named = |children: &[(u32, String)], wanted: &str| {
            let child = children.iter().find(|(_, name)| name == wanted);
            child.map(|(pid, _)| *pid)
        };
        let spare = named(&below(keeper), "picket-spare");
        let worker = spare.and_then(|spare| named(&below(spare), "picket-tracer"));
        found.set(spare.zip(worker));
        found.get().is_some()
    });
    found.get().unwrap()
}

#[test]
fn a_spare_becomes_the_worker_and_can_read_the_application() {
    need_root();
    let scratch = Scratch::new("spare");
    let agent = Agent::start(&scratch);
    let go = scratch.text("go");
    let orphans = scratch.text("orphans");
    std::fs::write(&orphans, "").unwrap();
    let script = format!(
        "( ( sleep 0.2; cat {orphans} ) & )
        while [ ! -e {go} ]; do sleep 0.05; done; cat /etc/hostname >/dev/null; /bin/echo after >/dev/null; exit 3"
    );
    let mut child = start(&mut spared(&agent, &sh(&script)));
    agent.until("the orphan", |record| {
        record.paths(EventType::Open).contains(&orphans)
    });
    let (spare, worker) = worker_of_spare(child.id());
    signal(worker, "KILL");
    agent.until("the notice", |record| !record.notices().is_empty());
    assert_eq!(worker_of(child.id()), Some(spare));
    std::fs::write(&go, "").unwrap();
    assert_eq!(wait(&mut child).code(), Some(3));
    let record = agent.finish();
    // Where Yama's scope is 1 (`make old-kernel`), this takes an ancestor's eyes.
    assert_eq!(record.exec("/bin/echo").1.argv[1], "after");
    record.about(EventType::Open, "/etc/hostname");
    assert_eq!(record.goodbye().unwrap().code, Some(3));
}

#[test]
fn a_tracer_with_a_spare_ends_as_one_without() {
    need_root();
    for (script, code) in [("exit 5", 5), ("kill -TERM $$", 143)] {
        let scratch = Scratch::new("spare-ends");
        let agent = Agent::start(&scratch);
        let status = wait(&mut start(&mut spared(&agent, &sh(script))));
        use std::os::unix::process::ExitStatusExt;
        let ended = status
            .code()
            .unwrap_or_else(|| 128 + status.signal().unwrap());
        assert_eq!(ended, code);
        agent.finish();
    }
    // Nor does the death of spare and worker, in either order, end the program.
    for spare_first in [true, false] {
        let scratch = Scratch::new("spare-dies");
        let agent = Agent::start(&scratch);
        let go = scratch.text("go");
        let script = format!("while [ ! -e {go} ]; do sleep 0.05; done; /bin/echo after; exit 3");
        let mut child = start(spared(&agent, &sh(&script)).stdout(Stdio::null()));
        agent.until("the program", |record| record.images().len() > 1);
        let (spare, worker) = worker_of_spare(child.id());
        let order = if spare_first {
            [spare, worker]
        } else {
            [worker, spare]
        };
        signal(order[0], "KILL");
        std::thread::sleep(Duration::from_millis(300));
        signal(order[1], "KILL");
        agent.until("the notice", |record| !record.notices().is_empty());
        eventually("another worker", || worker_of(child.id()).is_some());
        std::fs::write(&go, "").unwrap();
        assert_eq!(wait(&mut child).code(), Some(3), "{spare_first}");
        agent.finish();
    }
}
