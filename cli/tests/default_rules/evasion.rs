//! Hiding, and getting into other processes.

use crate::world::Case;

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "a process's memory is opened for writing",
        prepare: "",
        script: r#"
sleep 60 &
python3 -c 'import sys; open(f"/proc/{sys.argv[1]}/mem", "r+b", buffering=0)' $!
kill $!
"#,
        reports: &["picket_process_memory_written"],
    },
    Case {
        name: "a process's memory and state are read",
        prepare: "",
        script: r#"
python3 -c 'open("/proc/self/mem", "rb", buffering=0)'
cat /proc/self/status /proc/self/maps
echo 100 > /proc/self/oom_score_adj
"#,
        reports: &[],
    },
    Case {
        name: "a process's memory is changed through ptrace",
        prepare: "",
        script: r#"
python3 - <<'PYTHON'
import ctypes, os, signal
POKEDATA, ATTACH = 5, 16
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
word = ctypes.c_long(1)
child = os.fork()
if child == 0:
    signal.pause()
assert libc.ptrace(ATTACH, child, None, None) == 0
os.waitpid(child, 0)
assert libc.ptrace(POKEDATA, child, ctypes.addressof(word), 2) == 0
os.kill(child, signal.SIGKILL)
PYTHON
"#,
        reports: &["picket_ptrace_injection"],
    },
    Case {
        name: "a process is looked at through ptrace",
        prepare: "",
        script: r#"
python3 - <<'PYTHON'
import ctypes, os, signal
PEEKDATA, ATTACH, DETACH = 2, 16, 17
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
word = ctypes.c_long(1)
child = os.fork()
if child == 0:
    signal.pause()
assert libc.ptrace(ATTACH, child, None, None) == 0
os.waitpid(child, 0)
assert libc.ptrace(PEEKDATA, child, ctypes.addressof(word), None) == 1
assert libc.ptrace(DETACH, child, None, None) == 0
os.kill(child, signal.SIGKILL)
PYTHON
"#,
        reports: &[],
    },
    Case {
        name: "another process's memory is written",
        prepare: "",
        script: r#"
python3 - <<'PYTHON'
import ctypes, os, signal
class Range(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]
libc = ctypes.CDLL(None, use_errno=True)
word = ctypes.c_long(1)
place = Range(ctypes.addressof(word), ctypes.sizeof(word))
child = os.fork()
if child == 0:
    signal.pause()
write = lambda pid: libc.process_vm_writev(
    pid, ctypes.byref(place), ctypes.c_ulong(1), ctypes.byref(place), ctypes.c_ulong(1), ctypes.c_ulong(0))
assert write(child) == ctypes.sizeof(word)
os.kill(child, signal.SIGKILL)
PYTHON
"#,
        reports: &["picket_process_vm_writev"],
    },
    Case {
        name: "another process's memory is read, and a process's own written",
        prepare: "",
        script: r#"
python3 - <<'PYTHON'
import ctypes, os
class Range(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]
libc = ctypes.CDLL(None, use_errno=True)
word = ctypes.c_long(1)
place = ctypes.byref(Range(ctypes.addressof(word), ctypes.sizeof(word)))
one, none = ctypes.c_ulong(1), ctypes.c_ulong(0)
assert libc.process_vm_writev(os.getpid(), place, one, place, one, none) == ctypes.sizeof(word)
libc.process_vm_readv(os.getppid(), place, one, place, one, none)
PYTHON
"#,
        reports: &[],
    },
    Case {
        name: "a process asks to be traced by its parent",
        prepare: "",
        script: r#"
python3 - <<'PYTHON'
import ctypes, os
child = os.fork()
if child == 0:
    ctypes.CDLL(None).ptrace(0, 0, None, None)
    os._exit(0)
os.waitpid(child, 0)
PYTHON
"#,
        reports: &["picket_anti_debugging"],
    },
    Case {
        name: "a process tries to load a kernel module, which is empty",
        prepare: "",
        script: r#"
python3 - <<'PYTHON'
import ctypes, os
INIT_MODULE = {"x86_64": 175, "aarch64": 105}[os.uname().machine]
assert ctypes.CDLL(None).syscall(INIT_MODULE, None, ctypes.c_ulong(0), b"") == -1
PYTHON
"#,
        reports: &["picket_kernel_module_loaded"],
    },
    Case {
        name: "protection is turned off",
        prepare: "for tool in iptables setenforce pkill; do cp /usr/bin/true $tool; done",
        script: "./iptables -F; ./setenforce 0; ./pkill -9 auditd",
        reports: &[
            "picket_defenses_disabled",
            "picket_defenses_disabled",
            "picket_defenses_disabled",
        ],
    },
    Case {
        name: "protection is looked at, and a server restarted",
        prepare: "for tool in iptables setenforce pkill; do cp /usr/bin/true $tool; done",
        script: "./iptables -L; ./setenforce 1; ./pkill -HUP nginx",
        reports: &[],
    },
    Case {
        name: "a shell's history is removed, and replaced by a link in two ways",
        prepare: "touch /root/.bash_history /root/.zsh_history",
        script: r#"
rm /root/.bash_history
ln -s /dev/null /root/.bash_history
ln -sf /dev/null /root/.zsh_history
"#,
        reports: &[
            "picket_history_redirected",
            "picket_history_removed",
            "picket_history_replaced",
        ],
    },
    Case {
        name: "a shell's history is written as bash does, and one is read",
        prepare: "echo ls > /root/.bash_history",
        script: r#"
cat /root/.bash_history
echo id >> /root/.bash_history
echo id > /root/.bash_history-1.tmp
mv /root/.bash_history-1.tmp /root/.bash_history
rm -f /root/.viminfo
"#,
        reports: &[],
    },
    Case {
        name: "bash ends its first session on a terminal, and leaves a history",
        prepare: "",
        script: r#"
python3 - <<'PYTHON'
import os, pty
session, terminal = pty.fork()
if session == 0:
    os.execv("/bin/bash", ["bash", "--norc", "-i"])
os.write(terminal, b"id\nexit\n")
try:
    while os.read(terminal, 1000):
        pass
except OSError:
    pass  # the session is over
os.waitpid(session, 0)
assert "id\n" in open("/root/.bash_history").read()
PYTHON
"#,
        reports: &[],
    },
    Case {
        name: "a shell's history and a record of logins are emptied, and overwritten",
        prepare: "echo id > /root/.bash_history; echo log > /var/log/wtmp",
        script: r#"
: > /root/.bash_history
cat /dev/null > /var/log/wtmp
truncate -s 0 /root/.bash_history
echo log > log; shred log; shred /var/log/wtmp
: > /root/.profile_of_something
"#,
        reports: &[
            "picket_traces_emptied",
            "picket_traces_emptied",
            "picket_traces_overwritten",
            "picket_traces_overwritten",
        ],
    },
    Case {
        name: "files are made unchangeable, and one is not copied on writing",
        prepare: "cp /usr/bin/true chattr",
        script: "./chattr -ia /etc/crontab; ./chattr +i job; ./chattr +C database; ./chattr -R -V database",
        reports: &[
            "picket_file_made_unchangeable",
            "picket_file_made_unchangeable",
        ],
    },
    Case {
        name: "a record of logins is removed",
        prepare: "touch /var/log/wtmp",
        script: "rm /var/log/wtmp",
        reports: &["picket_log_removed"],
    },
    Case {
        name: "an application's log is rotated and removed",
        prepare: "touch /var/log/app.log",
        script: "mv /var/log/app.log /var/log/app.log.1; touch /var/log/app.log; rm /var/log/app.log.1; rm -f /var/log/wtmp",
        reports: &[],
    },
    Case {
        name: "programs that may not be executed are handed to the dynamic loader",
        prepare: "cp /usr/bin/true tool; cp /usr/bin/true /dev/shm/tool; chmod 0644 tool /dev/shm/tool",
        script: r#"
loader=$(readlink -f /lib64/ld-linux-*.so.* /lib/ld-linux-*.so.* 2>/dev/null | head -1)
"$loader" ./tool
"$loader" --argv0 true /dev/shm/tool
"#,
        reports: &["picket_program_by_loader", "picket_program_by_loader"],
    },
    Case {
        name: "the dynamic loader is asked what programs need, and runs one of the image",
        prepare: "cp /usr/bin/true tool; cp /usr/bin/true /dev/shm/tool",
        script: r#"
loader=$(readlink -f /lib64/ld-linux-*.so.* /lib/ld-linux-*.so.* 2>/dev/null | head -1)
ldd ./tool /dev/shm/tool /usr/bin/true
"$loader" --version
"$loader" --list ./tool
"$loader" --library-path /srv /usr/bin/true
"#,
        reports: &[],
    },
];
