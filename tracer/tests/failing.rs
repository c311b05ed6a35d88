//! What does not work costs the tracing, never the application.
#![allow(missing_docs)]

mod support;

use std::process::Command;

use picket_events::wire::Engine;
use support::*;

/// Runs the tracer where calls are refused with `errno`.
fn where_refused(calls: &[u32], errno: u32, flags: &[&str], agent: &Agent) -> Command {
    let mut command = tracer_where_refused(calls, errno);
    command.arg("trace").args(flags).arg("--socket");
    command
        .arg(&agent.socket)
        .arg("--")
        .args(sh("echo ran; exit 4"));
    command
}

/// The tracer where calls are refused with `errno`, by a filter that python installs.
fn tracer_where_refused(calls: &[u32], errno: u32) -> Command {
    let calls: Vec<_> = calls.iter().map(u32::to_string).collect();
    let calls = calls.join(",");
    let program = format!(
        "
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
refuse = [i for call in [{calls}] for i in [(0x15,0,1,call),(6,0,0,0x50000|{errno})]]
code = [(0x20,0,0,0)] + refuse + [(6,0,0,0x7fff0000)]
buffer = ctypes.create_string_buffer(b''.join(struct.pack('HBBI', *i) for i in code))
class P(ctypes.Structure): _fields_ = [('n', ctypes.c_ushort), ('p', ctypes.c_void_p)]
p = P(len(code), ctypes.addressof(buffer))
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(p), 0, 0) == 0
os.execv(sys.argv[1], sys.argv[1:])
"
    );
    let mut command = Command::new("python3");
    command.args(["-c", &program]).arg(tracer());
    command
}

const SECCOMP: u32 = 317;
const PRCTL: u32 = 157;
const PTRACE: u32 = 101;
const UNSHARE: u32 = 272;
const CLOSE_RANGE: u32 = 436;

#[test]
fn a_sandbox_without_seccomp_is_traced_with_ptrace() {
    for (errno, word) in [(1, "Operation not permitted"), (38, "not implemented")] {
        let scratch = Scratch::new("fallback");
        let agent = Agent::start(&scratch);
        let output = output(&mut where_refused(&[SECCOMP], errno, &[], &agent));
        assert_eq!(
            (stdout(&output).as_str(), output.status.code()),
            ("ran\n", Some(4))
        );
        let text = stderr(&output);
        assert!(
            text.lines().count() == 1 && text.contains(word) && text.contains("with ptrace"),
            "{text}"
        );
        let record = agent.finish();
        assert_eq!(
            agent.heard()[0].hello.as_ref().unwrap().engine,
            Engine::Ptrace
        );
        record.exec("/bin/sh");
        assert_eq!(record.goodbye().unwrap().code, Some(4));
    }
}

#[test]
fn a_listener_that_is_there_already_leaves_ptrace() {
    let scratch = Scratch::new("listener");
    let agent = Agent::start(&scratch);
    // As a container engine does that handles mknod for its containers.
    let program = "
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
code = [(0x20,0,0,0),(0x15,0,1,133),(6,0,0,0x7fc00000),(6,0,0,0x7fff0000)]
buffer = ctypes.create_string_buffer(b''.join(struct.pack('HBBI', *i) for i in code))
class P(ctypes.Structure): _fields_ = [('n', ctypes.c_ushort), ('p', ctypes.c_void_p)]
assert libc.prctl(38, 1, 0, 0, 0) == 0
listener = libc.syscall(317, 1, 8, ctypes.byref(P(len(code), ctypes.addressof(buffer))))
os.set_inheritable(listener, True)
os.execv(sys.argv[1], sys.argv[1:])
";
    let mut command = Command::new("python3");
    command.args(["-c", program]).arg(tracer());
    command.args(["trace", "--interest", "exec,unlink", "--socket"]);
    command.arg(&agent.socket).arg("--");
    let file = scratch.text("file");
    command.args(sh(&format!("echo >{file}; rm {file}; exit 4")));
    let output = output(&mut command);
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
    assert!(stderr(&output).contains("another tracer has a listener already"));
    let record = agent.finish();
    let event = record.about(picket_events::EventType::Unlink, &file);
    assert_eq!(event.outcome, picket_events::Outcome::Returned(0));
}

#[test]
fn a_sandbox_without_seccomp_and_ptrace_leaves_the_program_untraced() {
    for (errno, word) in [(1, "Operation not permitted"), (38, "not implemented")] {
        let scratch = Scratch::new("refused");
        let agent = Agent::start(&scratch);
        let refused = [SECCOMP, PTRACE];
        let output = output(&mut where_refused(&refused, errno, &[], &agent));
        assert_eq!(
            (stdout(&output).as_str(), output.status.code()),
            ("ran\n", Some(4))
        );
        let text = stderr(&output);
        assert!(
            text.lines().count() == 1 && text.contains(word) && text.contains("runs untraced"),
            "{text}"
        );
        agent.until("the hello", |record| !record.0.is_empty());
        let hello = agent.heard()[0].hello.clone().unwrap();
        assert!(
            matches!(hello.engine, Engine::Failed { errno: found, .. } if found == errno as i32)
        );
    }
}

#[test]
fn who_requires_tracing_gets_it_or_nothing() {
    let scratch = Scratch::new("required");
    let agent = Agent::start(&scratch);
    let output = output(&mut where_refused(
        &[SECCOMP, PTRACE],
        1,
        &["--require-tracing"],
        &agent,
    ));
    assert_eq!(
        (stdout(&output).as_str(), output.status.code()),
        ("", Some(125))
    );
    assert!(stderr(&output).contains("not started"));
}

#[test]
fn an_engine_that_was_asked_for_is_not_replaced() {
    for (refused, engine) in [
        (SECCOMP, "notification"),
        (PTRACE, "ptrace"),
        (PRCTL, "steam"),
    ] {
        let scratch = Scratch::new("asked");
        let agent = Agent::start(&scratch);
        let flags = ["--engine", engine];
        let output = output(&mut where_refused(&[refused], 1, &flags, &agent));
        assert_eq!(
            (stdout(&output).as_str(), output.status.code()),
            ("ran\n", Some(4))
        );
        let text = stderr(&output);
        assert!(
            text.lines().count() == 1 && text.contains("untraced"),
            "{text}"
        );
    }
}

#[test]
fn a_tracer_in_a_tracer_runs_the_program_untraced() {
    let tracer = tracer();
    let inner = [
        tracer.to_str().unwrap(),
        "trace",
        "--no-agent",
        "--",
        "/bin/sh",
        "-c",
        "echo ran; exit 4",
    ];
    let output = output(&mut silent(&inner));
    assert_eq!(
        (stdout(&output).as_str(), output.status.code()),
        ("ran\n", Some(4))
    );
    assert!(
        stderr(&output).contains("another tracer has a listener already"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn refused_calls_of_lesser_weight_change_nothing() {
    // ptrace, pidfd_getfd, openat2, process_vm_readv, close_range: as old sandboxes have it. unshare:
    // as containerd and Docker have it for all who lack CAP_SYS_ADMIN. fcntl: as nobody has it.
    for call in [PTRACE, 438, 437, 310, CLOSE_RANGE, UNSHARE, 72] {
        let scratch = Scratch::new("lesser");
        let agent = Agent::start(&scratch);
        let output = output(&mut where_refused(
            &[call],
            1,
            &["--interest", "exec,open"],
            &agent,
        ));
        assert_eq!(output.status.code(), Some(4), "{call}: {}", stderr(&output));
        let said = (stdout(&output), stderr(&output));
        assert_eq!(said, ("ran\n".to_owned(), String::new()), "{call}");
        let record = agent.finish();
        let hello = agent.heard()[0].hello.clone().unwrap();
        assert_eq!(hello.engine, Engine::UserNotification, "{call}");
        let (event, image) = record.exec("/bin/sh");
        assert!(image.file.path.ends_with("sh"), "{call} {image:?}");
        assert_ne!(event.outcome, picket_events::Outcome::Unconfirmed, "{call}");
    }
}

/// Without a descriptor table of its own the worker would close the application's descriptors.
#[test]
fn where_tables_of_descriptors_cannot_be_parted_the_program_keeps_its_own() {
    for (refused, outcome) in [
        (&[UNSHARE, CLOSE_RANGE][..], "is traced with ptrace"),
        (&[UNSHARE, CLOSE_RANGE, PTRACE], "runs untraced"),
    ] {
        let scratch = Scratch::new("tables");
        let agent = Agent::start(&scratch);
        std::fs::write(scratch.path("watched"), scratch.text("secret")).unwrap();
        let flags = ["--interest", "exec,open:plain", "--spare"];
        let output = output(&mut where_refused(refused, 1, &flags, &agent));
        assert_eq!(
            (stdout(&output).as_str(), output.status.code()),
            ("ran\n", Some(4)),
            "{refused:?} {}",
            stderr(&output)
        );
        let said = stderr(&output);
        let sentence = "unshare failed: Operation not permitted; the sandbox refuses it";
        assert!(
            said.lines().count() == 1 && said.contains(outcome) && said.contains(sentence),
            "{said}"
        );
    }
}

/// ioctl, wait4, epoll_wait, waitid: what would have the program wait for ever is tried before it is
/// started.
#[test]
fn what_the_tracer_cannot_do_without_is_tried_first() {
    let pid_waits = [61, 232, 247];
    for call in [&[16][..], &pid_waits].concat() {
        let scratch = Scratch::new("needed");
        let agent = Agent::start(&scratch);
        let output = output(&mut where_refused(&[call], 1, &[], &agent));
        assert_eq!(
            (stdout(&output).as_str(), output.status.code()),
            ("ran\n", Some(4)),
            "{call}"
        );
        let outcome = match pid_waits.contains(&call) {
            true => "runs untraced",
            false => "is traced with ptrace",
        };
        let said = stderr(&output);
        assert!(
            said.lines().count() == 1 && said.contains(outcome) && said.contains("sandbox"),
            "{call} {said}"
        );
    }
}

/// `getpid`: an error is no process's id, and a signal to it would reach everybody there is.
#[test]
fn where_nobody_is_told_its_id_nobody_is_signalled() {
    need_root();
    let refused = tracer_where_refused(&[39], 1);
    let program = "
import subprocess, sys
# Neither parent nor child of the tracer, and in the name space that ends with this test.
bystander = subprocess.Popen(['sleep', '1000'])
traced = subprocess.run(sys.argv[1:], capture_output=True, text=True)
print(traced.returncode, traced.stdout, traced.stderr, bystander.poll())
";
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--mount-proc", "--kill-child"]);
    command.args(["python3", "-I", "-S", "-c", program, "python3"]);
    command.args(refused.get_args());
    command
        .args(["trace", "--no-agent", "--"])
        .args(sh("echo ran; exit 4"));
    let ran = output(&mut command);
    let sentence = "runs untraced: getpid failed: Operation not permitted; the sandbox refuses it";
    let said = stdout(&ran);
    assert!(
        said.starts_with("4 ran\n") && said.ends_with("None\n"),
        "{said}"
    );
    assert!(said.contains(sentence), "{said}");
}

/// However little there is, the program runs; and where it is too little for the tracer, one sentence
/// says of what.
#[test]
fn limits_that_leave_no_room_leave_the_program_untraced() {
    need_root();
    let run = |limit: &str, engine: &str, user: &[&str]| {
        // Of all of these only setpriv may still read the tracer where that lies in root's home.
        let mut command = Command::new("prlimit");
        command.arg(limit).args(user).arg(tracer());
        command.args(["trace", "--no-agent", "--engine", engine, "--"]);
        output(command.args(["/bin/echo", "ran"]))
    };
    for engine in ["auto", "ptrace"] {
        for files in 4..28 {
            let ran = run(&format!("--nofile={files}:{files}"), engine, &[]);
            let said = stderr(&ran);
            assert_eq!(
                (stdout(&ran).as_str(), ran.status.code()),
                ("ran\n", Some(0)),
                "{files} files {said}"
            );
            let names_it = said.contains("untraced") && said.contains("open files is too low");
            assert!(
                said.is_empty() || said.lines().count() == 1 && names_it,
                "{files} files {said}"
            );
            assert!(files > 4 || names_it, "{said}");
        }
        let ran = run("--nofile=64:64", engine, &[]);
        assert_eq!((stdout(&ran), stderr(&ran)), ("ran\n".into(), "".into()));
        // The limit of processes is not one for root; nobody else has this user.
        let user = ["setpriv", "--reuid=654321", "--clear-groups"];
        let ran = run("--nproc=1:1", engine, &user);
        let said = stderr(&ran);
        assert_eq!(stdout(&ran), "ran\n", "{said}");
        assert!(
            said.lines().count() == 1 && said.contains("limit of processes is too low"),
            "{said}"
        );
    }
}

#[test]
fn misuse_is_one_sentence_and_the_program_runs() {
    let run = |args: &[&str]| output(Command::new(tracer()).args(args));
    let unknown = run(&["trace", "--frobnicate", "--", "/bin/sh", "-c", "exit 4"]);
    assert_eq!(unknown.status.code(), Some(4));
    assert!(stderr(&unknown).contains("unknown flag --frobnicate"));
    assert_eq!(stderr(&unknown).lines().count(), 1);
    let strict = run(&[
        "trace",
        "--frobnicate",
        "--require-tracing",
        "--",
        "/bin/true",
    ]);
    assert_eq!(strict.status.code(), Some(125));
    let undashed = run(&["trace", "--no-agent", "true"]);
    assert_eq!(undashed.status.code(), Some(125));
    assert!(stderr(&undashed).contains("the command belongs behind --, not true"));
    let probe = run(&["probe", "--frobnicate"]);
    assert_eq!(
        (probe.status.code(), stdout(&probe).as_str()),
        (Some(125), "")
    );
    assert_eq!(stderr(&probe).lines().count(), 1);
    for nothing in [&["trace"][..], &["trace", "--"]] {
        let output = run(nothing);
        assert_eq!(output.status.code(), Some(125));
        assert!(
            stderr(&output).contains("no command given"),
            "{}",
            stderr(&output)
        );
    }
    assert_eq!(
        run(&["trace", "--interest", "opne", "--", "/bin/true"])
            .status
            .code(),
        Some(0)
    );
    assert_eq!(run(&["frobnicate"]).status.code(), Some(125));
}

#[test]
fn help_is_given_wherever_it_is_asked_for_but_in_place_of_a_program() {
    let run = |args: &[&str]| output(Command::new(tracer()).args(args));
    let usage = stdout(&run(&["--help"]));
    assert!(usage.contains("Exit codes"), "{usage}");
    for subcommand in ["setup", "trace", "exec-session", "probe"] {
        for flag in ["--help", "-h"] {
            let helped = run(&[subcommand, flag]);
            assert_eq!(helped.status.code(), Some(0), "{subcommand} {flag}");
            assert_eq!(stdout(&helped), usage, "{subcommand} {flag}");
        }
    }
    let program = ["--", "/bin/sh", "-c", "exit 4"];
    let traced = run(&[&["trace", "--no-agent", "--help"], &program[..]].concat());
    assert_eq!(traced.status.code(), Some(4));
    assert!(stderr(&traced).contains("unknown flag --help"));
    let its_own = run(&["trace", "--no-agent", "--", "/bin/echo", "--help"]);
    assert_ne!(stdout(&its_own), usage);
}

#[test]
fn a_flag_that_is_not_known_is_told_to_the_agent() {
    for subcommand in ["trace", "exec-session"] {
        let scratch = Scratch::new("flag");
        let agent = Agent::start(&scratch);
        let mut command = Command::new(tracer());
        // As a control plane of a later version may write them.
        command.args([subcommand, "--later", "3", "--container", "web", "--socket"]);
        command.arg(&agent.socket);
        command.args(["--", "/bin/sh", "-c", "exit 4"]);
        let ran = output(&mut command);
        assert_eq!(ran.status.code(), Some(4), "{}", stderr(&ran));
        let sentence = format!("{subcommand}: unknown flag --later");
        assert_eq!(
            stderr(&ran),
            format!("picket-tracer: {sentence}; the program runs untraced\n")
        );
        agent.until("the hello", |record| !record.0.is_empty());
        let hello = agent.heard()[0].hello.clone().unwrap();
        assert_eq!(hello.container, "web");
        let step = sentence;
        assert_eq!(hello.engine, Engine::Failed { step, errno: 22 });
    }
}

#[test]
fn a_path_that_can_be_no_socket_is_one_sentence_and_the_program_is_traced() {
    let long = format!("/{}", "x".repeat(200));
    for (socket, words) in [
        ("/etc/passwd", "/etc/passwd is not a socket"),
        (&*long, "is longer than the path of a socket can be"),
    ] {
        let mut command = Command::new(tracer());
        command.args(["trace", "--socket", socket, "--", "/bin/sh", "-c", "exit 4"]);
        let ran = output(&mut command);
        assert_eq!(ran.status.code(), Some(4));
        let said = stderr(&ran);
        assert!(said.contains(words) && said.lines().count() == 1, "{said}");
    }
}

#[test]
fn probe_tells_what_is_there() {
    let text = output(Command::new(tracer()).arg("probe"));
    assert!(text.status.success(), "{}", stdout(&text));
    assert!(stdout(&text).contains("engine: seccomp user notification"));
    let json = output(Command::new(tracer()).args(["probe", "--json"]));
    let check = "import json,sys; d=json.load(sys.stdin); assert d['engine']=='user_notification' and d['features']['install']['available']";
    let mut python = Command::new("python3")
        .args(["-c", check])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(python.stdin.as_mut().unwrap(), &json.stdout).unwrap();
    drop(python.stdin.take());
    assert!(wait(&mut python).success());
}

#[test]
fn probe_names_the_engine_that_is_left() {
    for (refused, engine, code) in [
        (&[SECCOMP][..], "engine: ptrace", 0),
        (&[PTRACE], "engine: seccomp user notification", 0),
        (&[UNSHARE], "engine: seccomp user notification", 0),
        (&[UNSHARE, CLOSE_RANGE], "engine: ptrace", 0),
        (&[SECCOMP, PTRACE], "engine: none", 1),
    ] {
        let mut text = tracer_where_refused(refused, 1);
        let text = output(text.arg("probe"));
        assert!(stdout(&text).starts_with(engine), "{}", stdout(&text));
        assert_eq!(text.status.code(), Some(code), "{engine}");
        let mut json = tracer_where_refused(refused, 1);
        let json = stdout(&output(json.args(["probe", "--json"])));
        let expected = match code {
            1 => "{\"engine\":null,",
            _ if engine.ends_with("ptrace") => "{\"engine\":\"ptrace\",",
            _ => "{\"engine\":\"user_notification\",",
        };
        assert!(json.starts_with(expected), "{json}");
    }
}
