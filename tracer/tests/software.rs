//! Real programs run traced as they run untraced, under both engines. `suites.rs` has the long
//! ones.
#![cfg(feature = "test-tools")]
#![allow(missing_docs)]

mod support;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use support::*;

const ENGINES: [&str; 2] = ["notification", "ptrace"];

fn program(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/programs");
    path.join(name).to_str().unwrap().to_owned()
}

/// The words that put a command under the tracer.
fn prefix(engine: &str) -> Vec<String> {
    let tracer = tracer().to_str().unwrap().to_owned();
    let flags = ["trace", "--no-agent", "--interest", "all", "--engine"];
    let flags = flags.into_iter().map(str::to_owned);
    [tracer]
        .into_iter()
        .chain(flags)
        .chain([engine.to_owned(), "--".to_owned()])
        .collect()
}

/// A command, traced by an engine or (empty) not at all.
fn command(engine: &str, words: &[&str]) -> Command {
    let mut all = match engine {
        "" => Vec::new(),
        _ => prefix(engine),
    };
    all.extend(words.iter().map(|word| (*word).to_owned()));
    let mut command = Command::new(&all[0]);
    command.args(&all[1..]).stdin(Stdio::null());
    command
}

/// Builds something once for all tests that want it.
fn built(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", stderr(&output));
}

#[test]
fn a_shell_on_a_terminal_controls_its_jobs() {
    let script = program("job_control.py");
    for engine in ["", "notification", "ptrace"] {
        let mut command = Command::new("python3");
        command.arg(&script);
        if !engine.is_empty() {
            command.args(prefix(engine));
        }
        let output = output(command.stdin(Stdio::null()));
        assert!(output.status.success(), "{engine}: {}", stderr(&output));
    }
}

#[test]
fn a_session_on_a_terminal_controls_its_jobs() {
    let mut command = Command::new("python3");
    command.arg(program("job_control.py")).arg(tracer());
    command.args(["exec-session", "--no-agent", "--container", "web:exec-1"]);
    command
        .args(["--session", "a.b", "--"])
        .stdin(Stdio::null());
    let output = output(&mut command);
    assert!(output.status.success(), "{}", stderr(&output));
}

/// What the everyday tools say in an empty directory, with programs from `path`.
fn applets(engine: &str, path: &str, scratch: &Scratch) -> String {
    let directory = scratch.path("work");
    std::fs::create_dir(&directory).unwrap();
    let mut command = command(engine, &["/bin/sh", &program("applets.sh")]);
    let output = output(command.current_dir(&directory).env("PATH", path));
    std::fs::remove_dir_all(&directory).unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    stdout(&output)
}

#[test]
fn busyboxs_and_coreutils_tools_say_the_same() {
    let scratch = Scratch::new("applets");
    let busybox = scratch.path("bin");
    std::fs::create_dir(&busybox).unwrap();
    built(
        Command::new("busybox")
            .args(["--install", "-s"])
            .arg(&busybox),
    );
    for path in [busybox.to_str().unwrap(), "/usr/bin:/bin"] {
        let plain = applets("", path, &scratch);
        assert!(plain.matches("\n= 0\n").count() > 50, "{plain}");
        for engine in ENGINES {
            assert_eq!(applets(engine, path, &scratch), plain, "{engine} {path}");
        }
    }
}

/// stress-ng's tests that make the calls of the table, or meet the tracer otherwise; `make
/// transparency` runs more of them for longer.
const STRESSORS: &str = "chown clone copy-file dentry dup epoll fcntl fork itimer kill lockf \
    mprotect msg open pidfd pipe pthread rename rlimit seccomp sendfile session sigchld sigq sigrt \
    sigsegv sock sockfd splice userfaultfd utime vfork vm-rw wait xattr zombie";

#[test]
fn stress_ngs_tests_end_the_same() {
    let scratch = Scratch::new("stress");
    for stressor in STRESSORS.split_whitespace() {
        let (workers, operations) = (format!("--{stressor}"), format!("--{stressor}-ops"));
        // The timeout is for a hang only: when it strikes, stress-ng's own alarm does.
        // One worker each: some wait for a file of another's that is gone when that was quick.
        let words = ["stress-ng", &workers, "1", &operations, "20", "--timeout"];
        let temporary = scratch.text("");
        let words = [&words[..], &["60", "--verify", "--temp-path", &temporary]].concat();
        for engine in ["", "notification", "ptrace"] {
            let output = output(&mut command(engine, &words));
            assert!(
                output.status.success(),
                "{engine} {stressor}: {}",
                stderr(&output)
            );
        }
    }
}

/// Builds the Go program of these tests, with what a debugger needs.
fn go_program(scratch: &Scratch) -> String {
    let path = scratch.text("smoke");
    built(
        Command::new("go")
            .args(["build", "-gcflags", "all=-N -l", "-o", &path, "."])
            .env("CGO_ENABLED", "0")
            .env("GOFLAGS", "-buildvcs=false")
            .current_dir(program("smoke")),
    );
    path
}

#[test]
fn a_go_program_and_its_debugger_work() {
    let scratch = Scratch::new("go");
    let program = go_program(&scratch);
    for engine in ["", "notification", "ptrace"] {
        let output = output(&mut command(engine, &[&program, &scratch.text("")]));
        assert_eq!(
            (stdout(&output).as_str(), output.status.code()),
            ("hello user defined signal 1 child\n\n", Some(6)),
            "{engine} {}",
            stderr(&output)
        );
    }
    // Delve, where the program is read and stopped by another tracee.
    let delve = std::env::var_os("PICKET_TEST_TOOLS").map(|folder| Path::new(&folder).join("dlv"));
    let delve = delve.unwrap_or_else(|| "dlv".into());
    std::fs::write(
        scratch.path("commands"),
        "break main.main\ncontinue\nclear 1\ncontinue\nquit\n",
    )
    .unwrap();
    let words = [
        delve.to_str().unwrap(),
        "exec",
        "--allow-non-terminal-interactive=true",
        &program,
        "--",
        &scratch.text(""),
    ];
    let mut command = command("notification", &words);
    command
        .stdin(std::fs::File::open(scratch.path("commands")).unwrap())
        .env("HOME", scratch.text(""));
    let output = output(&mut command);
    let text = stdout(&output) + &stderr(&output);
    assert!(
        text.contains("main.main()") && text.contains("exited with status 6"),
        "{text}"
    );
}

#[test]
fn a_jvm_works_and_can_be_attached_to() {
    let scratch = Scratch::new("java");
    built(Command::new("javac").args(["-d", &scratch.text(""), &program("Smoke.java")]));
    for engine in ["", "notification", "ptrace"] {
        // jcmd too is below the tracer: it signals the JVM and connects to its socket.
        let script = "java -cp $0 Smoke $0 <$0/input >$0/output & exec 3>$0/input
            until grep -q pid $0/output; do sleep 0.05; done
            jcmd $! VM.version; echo code=$?; exec 3>&-; wait $!";
        let (input, heard) = (scratch.path("input"), scratch.path("output"));
        let _ = std::fs::remove_file(&heard);
        if !input.exists() {
            built(Command::new("mkfifo").arg(&input));
        }
        let words = ["sh", "-c", script, &scratch.text("")];
        let output = output(&mut command(engine, &words));
        let text = stdout(&output);
        assert!(
            text.contains("OpenJDK") && text.contains("code=0"),
            "{engine} {text} {}",
            stderr(&output)
        );
        assert_eq!(output.status.code(), Some(5), "{engine}");
        let heard = std::fs::read_to_string(heard).unwrap();
        assert!(heard.contains("heard 42\nchild 7\n"), "{engine} {heard}");
    }
}

#[test]
fn leaks_are_found_inside() {
    let scratch = Scratch::new("leak");
    let source = "#include <stdlib.h>\nint main(void) { volatile char *p = malloc(4321); p[0] = 1; p = 0; return 0; }\n";
    std::fs::write(scratch.path("leak.c"), source).unwrap();
    let program = scratch.text("leak");
    built(Command::new("cc").args(["-fsanitize=leak", "-o", &program, &scratch.text("leak.c")]));
    for engine in ["", "notification"] {
        let output = output(&mut command(engine, &[&program]));
        assert_eq!(output.status.code(), Some(23), "{engine}");
        let text = stderr(&output);
        assert!(text.contains("4321 byte(s) leaked in 1"), "{engine} {text}");
    }
    // A process has one tracer, and LeakSanitizer is one.
    let output = output(&mut command("ptrace", &[&program]));
    assert!(stderr(&output).contains("does not work under ptrace"));
}

#[test]
fn a_program_is_told_of_the_end_of_its_parent() {
    let scratch = Scratch::new("pdeathsig");
    let script = "
import ctypes, os, signal, sys, time
done = sys.argv[1]
if os.fork() == 0:
    def told(*_):
        open(done + '.tmp', 'w').write('told')
        os.rename(done + '.tmp', done)
        os._exit(0)
    signal.signal(signal.SIGUSR1, told)
    ctypes.CDLL(None).prctl(1, signal.SIGUSR1)
    open(done + '.ready', 'w').close()
    while True: time.sleep(1)
while not os.path.exists(done + '.ready'): time.sleep(0.01)
os._exit(0)
";
    for engine in ["", "notification", "ptrace"] {
        let done = scratch.text(&format!("done{engine}"));
        let mut command = command(engine, &["python3", "-c", script, &done]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        assert!(wait(&mut command.spawn().unwrap()).success());
        eventually("the signal", || Path::new(&done).exists());
    }
}

#[test]
fn inits_work_where_they_can_be_process_2() {
    need_root();
    let run = |init: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--mount-proc", "--kill-child"]);
        command.args(prefix("notification")).args(init);
        output(command.stdin(Stdio::null()))
    };
    for init in [
        &["tini", "-s", "--"][..],
        &["dumb-init", "--"],
        &["catatonit", "--"],
    ] {
        let words = [init, &["sh", "-c", "exit 7"]].concat();
        assert_eq!(run(&words).status.code(), Some(7), "{init:?}");
    }
    // One that insists says so itself.
    let insists = run(&["busybox", "init"]);
    assert_eq!(insists.status.code(), Some(1));
    assert!(stderr(&insists).contains("must be run as PID 1"));
}

/// What a JVM, a shell and Go have in common: a reader that waits must get what is written.
#[test]
fn standard_input_is_the_programs_alone() {
    for engine in ENGINES {
        let mut command = command(engine, &sh("read a; read b; echo \"$b$a\""));
        let mut child = start(command.stdin(Stdio::piped()).stdout(Stdio::piped()));
        let mut input = child.stdin.take().unwrap();
        std::io::Write::write_all(&mut input, b"1\n").unwrap();
        std::io::Write::write_all(&mut input, b"2\n").unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert_eq!(line, "21\n", "{engine}");
        assert!(wait(&mut child).success());
    }
}

/// `perf trace` follows a program by the kernel's trace points, `perf stat` counts: neither needs
/// the place of a debugger.
#[test]
fn profilers_work_inside() {
    let words: [&[&str]; 2] = [
        &["perf", "stat", "-x,", "-e", "task-clock", "/bin/true"],
        &["perf", "trace", "-e", "openat", "/bin/true"],
    ];
    for words in words {
        let seen = |engine| {
            let output = output(&mut command(engine, words));
            let text = stderr(&output);
            let says = text.contains("task-clock") || text.contains("openat(");
            (output.status.success(), says)
        };
        // Where the machine does not allow it, it does not inside either.
        let plain = seen("");
        for engine in ENGINES {
            assert_eq!(seen(engine), plain, "{engine} {words:?}");
        }
    }
}
