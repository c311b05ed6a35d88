//! Programs.

use super::*;

#[test]
fn a_denied_program_does_not_run_by_whatever_name() {
    let denied = Denied::start_as(
        "exec",
        "exec",
        &[],
        r#"
import subprocess
tool = here + "/tool"
os.symlink(tool, here + "/alias")
script = here + "/script"
open(script, "w").write(chr(35) + "!" + tool + "\n"); os.chmod(script, 0o755)
def run(*words):
    child = os.fork()
    if child == 0:
        try: os.execv(words[0], words)
        except OSError as error: os._exit(100 + error.errno)
    status = os.waitpid(child, 0)[1]
    return "killed" if status == 9 else os.waitstatus_to_exitcode(status)
print(run(tool, here + "/ran"), run(here + "/alias", here + "/ran"), run("/proc/self/root" + tool, here + "/ran"))
fd = os.open(tool, os.O_RDONLY)
child = os.fork()
if child == 0:
    try: os.execve(fd, ["tool", here + "/ran"], {})
    except OSError as error: os._exit(100 + error.errno)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(run(script), run("/bin/true"), os.path.exists(here + "/ran"))
"#,
        |scratch| {
            std::fs::copy("/usr/bin/touch", scratch.path("here/tool")).unwrap();
            vec![rule(EventType::Exec, &scratch.text("here/tool"))]
        },
    );
    let tool = denied.here("tool");
    let (said, record) = denied.end();
    // As the interpreter of a script it is seen when it stands before its first instruction.
    assert_eq!(said, "101 101 101\n101\nkilled 0 False\n");
    let refused = refused(&record, EventType::Exec);
    assert_eq!(
        refused.iter().filter(|path| **path == tool).count(),
        4,
        "{refused:?}"
    );
}

/// The path of an exec is rewritten by another thread while the kernel takes it.
#[test]
fn a_denied_program_that_a_thread_slips_in_does_nothing() {
    let denied = Denied::start_as(
        "slip",
        "exec",
        &[],
        r#"
plain, tool = b"/bin/true", (here + "/tool").encode()
size = len(tool) + 1
for i in range(60):
    child = os.fork()
    if child == 0:
        path = ctypes.create_string_buffer(plain, size)
        def swap():
            while True:
                ctypes.memmove(path, tool, len(tool)); ctypes.memmove(path, plain + b"\0", len(plain) + 1)
        sys.setswitchinterval(1e-6)
        threading.Thread(target=swap, daemon=True).start()
        words = (ctypes.c_char_p * 3)(b"tool", (here + "/ran").encode(), None)
        libc.execv(path, words)
        os._exit(0)
    os.waitpid(child, 0)
print(os.path.exists(here + "/ran"))
"#,
        |scratch| {
            std::fs::copy("/usr/bin/touch", scratch.path("here/tool")).unwrap();
            vec![rule(EventType::Exec, &scratch.text("here/tool"))]
        },
    );
    let (said, _) = denied.end();
    assert_eq!(said, "False\n");
}
