//! The application does not notice that it is traced, and nor does whoever started it.
#![allow(missing_docs)]

#[path = "transparency/handed.rs"]
mod handed;
#[path = "transparency/inherited.rs"]
mod inherited;
#[path = "transparency/interrupted.rs"]
mod interrupted;
mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use picket_events::EventKind;
use picket_events::wire::ToAgent;
use support::*;

fn kill(pid: u32, signal: &str) {
    let status = Command::new("/bin/kill")
        .args([&format!("-{signal}"), &pid.to_string()])
        .status();
    assert!(status.unwrap().success());
}

#[test]
fn every_exit_code_is_passed_on() {
    for code in [0, 1, 2, 7, 125, 126, 127, 128, 200, 255] {
        let output = output(&mut silent(&sh(&format!("exit {code}"))));
        assert_eq!(output.status.code(), Some(code));
    }
}

#[test]
fn a_signal_that_ends_the_program_ends_the_tracer() {
    for signal in [1, 2, 3, 6, 9, 13, 15, 34] {
        // Whoever runs the tests may ignore some, as nohup does; ignored signals are inherited.
        let script = format!("kill -{signal} $$");
        let command = ["env", "--default-signal", "sh", "-c", &script];
        let output = output(&mut silent(&command));
        assert_eq!(output.status.signal(), Some(signal), "{output:?}");
    }
}

#[test]
fn every_signal_that_can_be_forwarded_is() {
    let script = "
import os, signal, sys
def got(number, frame):
    os.write(1, b'%d\\n' % number)
wanted = [n for n in range(1, 65) if n not in (9, 19, 17, 32, 33)]
for n in wanted: signal.signal(n, got)
os.write(1, b'ready\\n')
import time
while True: time.sleep(60)
";
    let mut child = start(silent(&["python3", "-c", script]).stdout(Stdio::piped()));
    let mut lines = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);
    assert_eq!(lines.next().unwrap(), "ready");
    for signal in (1..=64).filter(|n| ![9, 19, 17, 32, 33].contains(n)) {
        kill(child.id(), &signal.to_string());
        assert_eq!(lines.next().unwrap(), signal.to_string());
    }
}

#[test]
fn programs_are_looked_up_as_execvp_does() {
    let scratch = Scratch::new("lookup");
    scratch.script("no-line", "echo \"shell $1\"; exit 5");
    let found = output(silent(&["no-line", "x"]).env("PATH", scratch.path("")));
    assert_eq!(
        (stdout(&found).as_str(), found.status.code()),
        ("shell x\n", Some(5))
    );

    let missing = output(&mut silent(&["picket-no-such-program"]));
    assert_eq!(missing.status.code(), Some(127));
    assert!(stderr(&missing).contains("picket-no-such-program: No such file"));
    assert_eq!(
        output(&mut silent(&["/no/such/thing"])).status.code(),
        Some(127)
    );

    std::fs::write(scratch.path("plain"), "x").unwrap();
    for plain in [scratch.text("plain"), scratch.text("")] {
        let output = output(&mut silent(&[&plain]));
        assert_eq!(output.status.code(), Some(126), "{plain}");
        assert!(stderr(&output).contains("Permission denied"));
    }
    // One that may not be run does not hide a later one that may.
    std::fs::create_dir(scratch.path("later")).unwrap();
    scratch.script("later/plain", "#!/bin/sh\necho later");
    let path = format!("{}:{}", scratch.text(""), scratch.text("later"));
    assert_eq!(
        stdout(&output(silent(&["plain"]).env("PATH", path))),
        "later\n"
    );
}

#[test]
fn arguments_environment_and_name_arrive_unchanged() {
    let script = "import os,sys; sys.stdout.buffer.write(open('/proc/self/environ','rb').read()+b'|'+open('/proc/self/cmdline','rb').read())";
    let run = |mut command: Command| {
        command
            .env_clear()
            .env("PATH", std::env::var("PATH").unwrap());
        command.env("ODD", "a=b\nc").env("EMPTY", "");
        output(&mut command).stdout
    };
    let arguments = ["python3", "-c", script, "", "a b", "--", "\u{e9}"];
    let mut plain = Command::new("python3");
    plain.args(&arguments[1..]);
    assert_eq!(run(silent(&arguments)), run(plain));
}

#[test]
fn standard_streams_end_when_the_application_closes_them() {
    let mut child = start(
        silent(&sh("echo out; exec >&- 2>&-; read line; exit 3"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped()),
    );
    let (mut out, mut err) = (String::new(), String::new());
    // Both reads end although the application still runs, and so do keeper and worker.
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut out)
        .unwrap();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut err)
        .unwrap();
    assert_eq!((out.as_str(), err.as_str()), ("out\n", ""));
    assert!(child.try_wait().unwrap().is_none());
    child.stdin.take().unwrap().write_all(b"x\n").unwrap();
    assert_eq!(wait(&mut child).code(), Some(3));
}

/// A shell's handler of SIGCHLD lacks SA_RESTART: where each `kill` waited for the tracer, the
/// end of the first child would interrupt the second one.
#[test]
fn a_shell_that_ends_several_children_ends_all() {
    let script = "
for i in 1 2 3 4 5 6 7 8 9 10; do
    sleep 100 & a=$!; sleep 100 & b=$!
    kill $a $b || exit 1
    wait $a $b
done";
    let scratch = Scratch::new("ends-several");
    let agent = Agent::start(&scratch);
    let output = output(&mut traced(&agent, "exec,connect", &sh(script)));
    assert!(
        !stderr(&output).contains("kill") && output.status.code() == Some(143),
        "{:?} {}",
        output.status,
        stderr(&output)
    );
}

#[test]
fn orphans_are_reaped_and_survivors_are_served() {
    let scratch = Scratch::new("orphans");
    let reaped = scratch.text("reaped");
    // An orphan ends while the main process runs: no zombie may stay.
    let script = format!(
        "( sleep 0.1 & echo $! >{reaped} ); sleep 0.5; ! grep -s State /proc/$(cat {reaped})/status"
    );
    assert!(output(&mut silent(&sh(&script))).status.success());
    // One outlives the main process: it is not disturbed, and the caller does not wait.
    let late = scratch.text("late");
    let script = format!("(sleep 0.5; ls / >{late}; /bin/echo done >>{late}) & exit 4");
    let mut command = silent(&sh(&script));
    command.stdout(Stdio::null()).stderr(Stdio::null());
    assert_eq!(wait(&mut command.spawn().unwrap()).code(), Some(4));
    eventually("the survivor", || {
        std::fs::read_to_string(&late)
            .is_ok_and(|text| text.contains("etc\n") && text.ends_with("done\n"))
    });
}

fn state(pid: u32) -> char {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ")
        .next()
        .and_then(|rest| rest.chars().next())
        .unwrap_or('?')
}

#[test]
fn stop_and_continue_reach_the_caller() {
    let mut child = start(&mut silent(&sh("kill -STOP $$; exit 6")));
    eventually("the tracer to stop", || state(child.id()) == 'T');
    kill(child.id(), "CONT");
    assert_eq!(wait(&mut child).code(), Some(6));
    // A stop by the terminal's signal, sent to the tracer alone, stops the program too.
    let mut child = start(&mut silent(&sh("while :; do sleep 0.05; done")));
    eventually("the tracer to run", || {
        std::fs::read_to_string(format!("/proc/{}/comm", child.id()))
            .is_ok_and(|c| c == "picket-keeper\n")
    });
    kill(child.id(), "TSTP");
    eventually("the tracer to stop", || state(child.id()) == 'T');
    kill(child.id(), "CONT");
    eventually("the tracer to go on", || state(child.id()) != 'T');
    kill(child.id(), "TERM");
    assert_eq!(wait(&mut child).signal(), Some(15));
}

#[test]
fn a_group_signal_arrives_once() {
    // `kill 0` reaches program and keeper alike; the keeper must not pass it on as well.
    let script = "
import os, signal, time
count = 0
def got(*_):
    global count
    count += 1
signal.signal(signal.SIGUSR1, got)
os.kill(0, signal.SIGUSR1)
time.sleep(0.5)
print(count)
";
    use std::os::unix::process::CommandExt;
    let mut command = silent(&["python3", "-c", script]);
    command.process_group(0);
    assert_eq!(stdout(&output(&mut command)), "1\n");
}

#[test]
fn other_users_and_fewer_rights_are_no_obstacle() {
    need_root();
    let scratch = Scratch::new("users");
    for setting in [
        &["--reuid", "1000", "--regid", "1000", "--clear-groups"][..],
        &[
            "--reuid",
            "1000",
            "--regid",
            "1000",
            "--clear-groups",
            "--no-new-privs",
            "--bounding-set",
            "-all",
        ],
        &["--bounding-set", "-all", "--inh-caps", "-all"],
        &["--bounding-set=-sys_ptrace,-sys_admin", "--inh-caps=-all"],
    ] {
        let agent = Agent::start(&scratch);
        let mut command = Command::new("setpriv");
        command.args(setting).arg(tracer()).args([
            "trace",
            "--engine",
            engine(),
            "--interest",
            "exec,open",
            "--socket",
        ]);
        command
            .arg(&agent.socket)
            .args(["--"])
            .args(sh("cat /etc/hostname >/dev/null; exit 9"));
        let output = output(&mut command);
        assert_eq!(
            output.status.code(),
            Some(9),
            "{setting:?} {}",
            stderr(&output)
        );
        let record = agent.finish();
        let (_, cat) = record.exec("cat");
        assert!(cat.file.path.ends_with("/cat"), "{setting:?} {cat:?}");
        record.about(picket_events::EventType::Open, "/etc/hostname");
    }
}

#[test]
fn a_user_dropped_by_the_application_stays_in_sight() {
    need_root();
    let scratch = Scratch::new("drop");
    let agent = Agent::start(&scratch);
    // As on EKS Fargate: root, the default capabilities, no CAP_SYS_PTRACE.
    let mut command = Command::new("setpriv");
    command
        .args(["--bounding-set=-sys_ptrace,-sys_admin", "--inh-caps=-all"])
        .arg(tracer());
    command
        .args([
            "trace",
            "--engine",
            engine(),
            "--interest",
            "exec,open,setuid",
            "--socket",
        ])
        .arg(&agent.socket);
    command.args([
        "--",
        "setpriv",
        "--reuid",
        "1000",
        "--regid",
        "1000",
        "--clear-groups",
    ]);
    command.args(sh("cat /etc/hostname; exit 2"));
    assert_eq!(output(&mut command).status.code(), Some(2));
    let record = agent.finish();
    let (_, cat) = record.exec("cat");
    assert!(
        cat.file.path.ends_with("/cat") && cat.argv.len() == 2,
        "{cat:?}"
    );
    record.about(picket_events::EventType::Open, "/etc/hostname");
    let ids = record.of(picket_events::EventType::SetUid);
    let picket_events::EventKind::SetUid(after) = &ids.last().unwrap().kind else {
        panic!()
    };
    assert_eq!((after.uid, after.euid, after.suid), (1000, 1000, 1000));
}

#[test]
fn ids_that_a_setuid_program_changed_are_told_before_its_exec() {
    need_root();
    let scratch = Scratch::new("setuid");
    let agent = Agent::start(&scratch);
    let program = scratch.text("elevate");
    std::fs::copy("/bin/true", &program).unwrap();
    set_mode(scratch.path("elevate").as_path(), 0o4755);
    let mut command = Command::new(tracer());
    command
        .args([
            "trace",
            "--engine",
            engine(),
            "--interest",
            "exec",
            "--socket",
        ])
        .arg(&agent.socket);
    command.args(["--", "setpriv", "--reuid", "1000", "--regid", "1000"]);
    command.args(["--clear-groups", &program]);
    assert!(output(&mut command).status.success());
    let messages = agent.finish().0;
    let exec = messages
        .iter()
        .position(|message| {
            matches!(message, ToAgent::Event(event)
                if matches!(&event.kind, EventKind::Exec(image) if image.file.path == program))
        })
        .expect("the exec is told");
    let ids = messages[..exec]
        .iter()
        .rev()
        .find_map(|message| match message {
            ToAgent::Process(process) => Some(&process.credentials),
            _ => None,
        });
    let ids = ids.expect("its process is told again");
    assert_eq!((ids.uid, ids.euid), (1000, 0));
}

#[cfg(feature = "test-tools")]
#[test]
fn a_chroot_is_followed() {
    need_root();
    let scratch = Scratch::new("jail");
    let agent = Agent::start(&scratch);
    let jail = scratch.path("jail");
    std::fs::create_dir_all(jail.join("etc")).unwrap();
    std::fs::create_dir_all(jail.join("bin")).unwrap();
    std::fs::write(jail.join("etc/shadow"), "x").unwrap();
    std::fs::copy("/bin/busybox", jail.join("bin/busybox")).unwrap();
    std::os::unix::fs::symlink("/etc/shadow", jail.join("link")).unwrap();
    let mut command = traced(
        &agent,
        "exec,open,chroot",
        &[
            "chroot",
            jail.to_str().unwrap(),
            "/bin/busybox",
            "cat",
            "/link",
        ],
    );
    assert!(output(&mut command).status.success());
    let record = agent.finish();
    // By the names that they have in the container.
    let below = |name: &str| jail.join(name).to_str().unwrap().to_owned();
    record.about(picket_events::EventType::Open, &below("etc/shadow"));
    let (_, busybox) = record.exec("/bin/busybox");
    assert_eq!(busybox.file.path, below("bin/busybox"));
    assert_eq!(
        record.paths(picket_events::EventType::Chroot),
        [jail.to_str().unwrap()]
    );
}

#[cfg(feature = "test-tools")]
#[test]
fn debuggers_work_inside() {
    let strace = output(&mut silent(&[
        "strace",
        "-f",
        "-e",
        "trace=execve",
        "/bin/true",
    ]));
    if engine() == "ptrace" {
        // The known price of this engine: a process has one tracer.
        assert!(stderr(&strace).contains("Operation not permitted"));
        return;
    }
    assert!(strace.status.success(), "{}", stderr(&strace));
    assert!(stderr(&strace).contains("execve(\"/bin/true\""));
    let script = [
        "gdb",
        "-q",
        "-batch",
        "-ex",
        "run",
        "-ex",
        "info inferiors",
        "--args",
        "/bin/true",
    ];
    let gdb = output(&mut silent(&script));
    assert!(
        stdout(&gdb).contains("exited normally"),
        "{} {}",
        stdout(&gdb),
        stderr(&gdb)
    );
}

#[test]
fn works_as_process_1() {
    need_root();
    let run = |script: &str| {
        let mut command = Command::new("unshare");
        command
            .args(["--pid", "--fork", "--mount-proc", "--kill-child"])
            .arg(tracer());
        command
            .args(["trace", "--engine", engine(), "--no-agent", "--"])
            .args(sh(script));
        output(command.stdin(Stdio::null()))
    };
    let ran = run("cat /proc/1/comm; (sleep 30 &) ; exit 8");
    assert_eq!(
        (stdout(&ran).as_str(), ran.status.code()),
        ("picket-keeper\n", Some(8))
    );
    // A signal to process 1 means the program; process 1 cannot die of it, so the code says it.
    assert_eq!(
        run("trap 'exit 5' TERM; kill 1; sleep 5").status.code(),
        Some(5)
    );
    assert_eq!(run("kill -TERM $$; sleep 5").status.code(), Some(128 + 15));
}
