"""Does each thing that rules can be about once, and so that every field has something to say.

Runs traced, as root, in a mount and a network name space of its own, in an empty folder. What
fails is told on standard error: the event of a call that fails is told as well, and where it is
not, the test says which fields were missed.
"""

import array, ctypes, fcntl, os, pty, signal, socket, struct, sys, threading, time, traceback

libc = ctypes.CDLL(None, use_errno=True)
DAEMON = 1
FOLDER = os.getcwd()
CALLS = {
    "x86_64": dict(
        bpf=321, perf_event_open=298, userfaultfd=323, init_module=175, finit_module=313,
        delete_module=176, io_uring_setup=425, pidfd_open=434, pidfd_getfd=438, setns=308,
        unshare=272, open_tree=428, ptrace=101, process_vm_writev=311, prlimit64=302, capset=126,
        mprotect=10,
    ),
    "aarch64": dict(
        bpf=280, perf_event_open=241, userfaultfd=282, init_module=105, finit_module=273,
        delete_module=106, io_uring_setup=425, pidfd_open=434, pidfd_getfd=438, setns=268,
        unshare=97, open_tree=428, ptrace=117, process_vm_writev=271, prlimit64=261, capset=91,
        mprotect=226,
    ),
}[os.uname().machine]


def call(name, *arguments):
    arguments = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    return libc.syscall(ctypes.c_long(CALLS[name]), *arguments)


def attempt(act):
    """Runs one act in a process of its own, so that none changes the next."""
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        try:
            act()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    os.waitpid(child, 0)


def make(name, text="text\n", mode=0o755):
    with open(name, "w") as file:
        file.write(text)
    os.chown(name, DAEMON, DAEMON)
    os.chmod(name, mode)


def as_daemon():
    os.setgroups([])
    os.setresgid(DAEMON, DAEMON, DAEMON)
    os.setresuid(DAEMON, DAEMON, DAEMON)


# --- Files, of a user who is not root, so that owners say something.

def files():
    as_daemon()
    os.close(os.open("opened.txt", os.O_RDWR | os.O_CREAT, 0o640))
    os.chmod("chmod.txt", 0o700)
    os.utime("utimes.txt", (1, 1))
    os.mkdir("made.d", 0o750)
    os.rename("rename.txt", "renamed.txt")
    os.link("link.txt", "linked.txt")
    os.symlink(FOLDER + "/a.txt", "symbolic.txt")
    os.unlink("unlink.txt")
    os.chdir("made.d")
    os.chdir("..")
    os.rmdir("made.d")


def owners():
    os.chown("chown.txt", 2, 2)
    os.setxattr("setxattr.txt", "trusted.note", b"x")
    os.removexattr("removexattr.txt", "trusted.note")


def splice():
    reader, writer = os.pipe()
    with open("a.txt") as file:
        os.splice(file.fileno(), writer, 4)


def mounts():
    os.mkdir("mnt.d")
    libc.mount(FOLDER.encode(), b"mnt.d", b"tmpfs", 0, b"")
    call("open_tree", -100, ctypes.c_char_p(b"mnt.d"), 1)
    libc.umount2(b"mnt.d", 2)


def new_root():
    os.mkdir("root.d")
    os.chown("root.d", DAEMON, DAEMON)
    os.chroot("root.d")


def kernel_files():
    try:
        os.open("/proc/sys/kernel/core_pattern", os.O_RDONLY)
    except OSError:
        pass
    for folder in ("/sys/fs/cgroup", "/sys/fs/cgroup/pids", "/sys/fs/cgroup/memory"):
        try:
            os.close(os.open(folder + "/cgroup.procs", os.O_WRONLY))
        except OSError:
            pass


# --- What a process is.

def users():
    os.setresgid(DAEMON, DAEMON, DAEMON)
    os.setresuid(DAEMON, DAEMON, DAEMON)


def capabilities():
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    sets = (ctypes.c_uint32 * 6)(1, 1, 0, 0, 0, 0)
    call("capset", header, sets)


def names():
    libc.prctl(15, b"a name that is far too long", 0, 0, 0)


def namespaces():
    call("unshare", 0x04000000)
    with open("/proc/self/ns/uts") as own:
        call("setns", own.fileno(), 0x04000000)


# --- The network: the loopback interface with addresses of the internet and of metadata services.

def loopback():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        fcntl.ioctl(s, 0x8914, struct.pack("16sH14x", b"lo", 0x41))
        for alias, host in [(b"lo:1", "169.254.169.254"), (b"lo:2", "1.1.1.1")]:
            address = struct.pack("HH4s8x", socket.AF_INET, 0, socket.inet_aton(host))
            fcntl.ioctl(s, 0x8916, struct.pack("16s16s8x", alias, address))


def name_server():
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 53))

    def serve():
        while True:
            question, client = server.recvfrom(4096)
            end = question.index(b"\0", 12) + 5
            known = b"known" in question
            record = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + socket.inet_aton("1.1.1.1")
            flags, count = (b"\x81\x80", b"\0\1") if known else (b"\x81\x83", b"\0\0")
            answer = question[:2] + flags + b"\0\1" + count + b"\0\0\0\0" + question[12:end]
            server.sendto(answer + (record if known else b""), client)

    threading.Thread(target=serve, daemon=True).start()


def questions():
    for name in (b"known", b"xk7q9zw2vbn4mt8rj5hd"):
        question = b"\x12\x34\1\0\0\1\0\0\0\0\0\0"
        for part in (b"www", name, b"com"):
            question += bytes([len(part)]) + part
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(20)
            client.sendto(question + b"\0\0\1\0\1", ("127.0.0.1", 53))
            client.recvfrom(4096)


def connections():
    questions()
    server = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("1.1.1.1", 8080))
    server.listen()
    client = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    client.bind(("1.1.1.1", 0))
    client.connect(("1.1.1.1", 8080))
    peer = server.accept()
    os.dup2(client.fileno(), 0)


def local_connections():
    for own, other in [("one.sock", "two.sock"), ("\0one", "\0two")]:
        own, other = [FOLDER + "/" + n if n[0] != "\0" else n for n in (own, other)]
        server = socket.socket(socket.AF_UNIX)
        server.bind(own)
        server.listen()
        client = socket.socket(socket.AF_UNIX)
        client.bind(other)
        client.connect(own)
        peer = server.accept()
        os.dup2(client.fileno(), 0)


def metadata():
    server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    server.bind(("169.254.169.254", 80))
    server.listen()
    client = socket.create_connection(("169.254.169.254", 80))
    client.send(
        b"GET /latest/meta-data/iam/security-credentials/ HTTP/1.1\r\nHost: 169.254.169.254\r\n"
        b"User-Agent: acts\r\nX-aws-ec2-metadata-token: t\r\n\r\n"
    )


def descriptors():
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with open("a.txt") as file:
        for passed in ([file.fileno()], [ours.fileno()]):
            rights = array.array("i", passed)
            ours.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])


# --- Memory, modules, and what reaches into the kernel.

def memory():
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
    with open("a.txt", "r+") as file:
        libc.mmap(None, 4096, 7, 2, file.fileno(), 0)
    place = libc.mmap(None, 4096, 3, 0x22, -1, 0)
    call("mprotect", ctypes.c_void_p(place), ctypes.c_size_t(4096), 5)


def modules():
    call("init_module", ctypes.c_char_p(b"x"), ctypes.c_size_t(1), ctypes.c_char_p(b"one=1 two=2"))
    with open("module.ko") as file:
        call("finit_module", file.fileno(), ctypes.c_char_p(b"one=1 two=2"), 0)
    call("delete_module", ctypes.c_char_p(b"no_such_module"), os.O_NONBLOCK)


def kernel():
    call("bpf", 5, None, 0)
    call("perf_event_open", None, 0, -1, -1, 0)
    call("userfaultfd", os.O_NONBLOCK)
    call("io_uring_setup", 4, None)


# --- What is done to another process.

class Range(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


def to_another(pid, descriptor):
    os.kill(pid, signal.SIGCONT)
    limit = (ctypes.c_uint64 * 2)(1000, 1000)
    call("prlimit64", pid, 7, limit, None)
    call("ptrace", 0x4206, pid, None, None)
    word = ctypes.c_long(1)
    one = ctypes.byref(Range(ctypes.addressof(word), ctypes.sizeof(word)))
    call("process_vm_writev", pid, one, 1, one, 1, 0)
    handle = call("pidfd_open", pid, 0)
    for number in (descriptor, descriptor + 1):
        call("pidfd_getfd", handle, number, 0)


OUTER = """#!{folder}/shell.bin
exec 9< {folder}/a.txt
{folder}/inner-link.bin "$@"
exit 3
"""
INNER = """#!{folder}/shell.bin
exec 9< {folder}/a.txt
echo $$ > {folder}/ready
while test ! -e {folder}/enough; do sleep 0.1; done
exit 3
"""


def programs(prepare, end):
    """A script below a script, with all that can be said of a process, as the target."""
    for left in ("ready", "enough"):
        if os.path.exists(left):
            os.unlink(left)
    child = os.fork()
    if child == 0:
        ours, _ = socket.socketpair()
        os.dup2(ours.fileno(), 10)
        prepare()
        arguments = ["-a", "--name", "value"] + ["x"] * 300
        environment = {f"V{i}": "1" for i in range(600)}
        environment.update(PATH=os.environ["PATH"], HISTFILE="/dev/null")
        os.execve(FOLDER + "/outer-link.bin", ["outer-link.bin"] + arguments, environment)
    pid = ""
    while not pid:
        time.sleep(0.02)
        if os.path.exists("ready"):
            with open("ready") as ready:
                pid = ready.read().strip()
    attempt(lambda: to_another(int(pid), 9))
    end(int(pid))
    os.waitpid(child, 0)


def targets():
    programs(lambda: None, lambda _: open("enough", "w").close())
    programs(as_daemon, lambda pid: os.kill(pid, signal.SIGKILL))
    # One that has run no program of its own.
    child = os.fork()
    if child == 0:
        grandchild = os.fork()
        time.sleep(60)
        os._exit(0)
    attempt(lambda: to_another(child, 0))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def main():
    os.chmod(FOLDER, 0o777)
    loopback()
    with open("/bin/sh", "rb") as shell, open("shell.bin", "wb") as copy:
        copy.write(shell.read())
    os.chown("shell.bin", DAEMON, DAEMON)
    os.chmod("shell.bin", 0o755)
    make("outer.bin", OUTER.format(folder=FOLDER))
    make("inner.bin", INNER.format(folder=FOLDER))
    for name in ("outer", "inner"):
        os.symlink(f"{FOLDER}/{name}.bin", f"{name}-link.bin")
    for name in ("chmod", "utimes", "rename", "link", "unlink", "chown", "setxattr", "removexattr", "a"):
        make(name + ".txt")
    make("module.ko")
    os.setxattr("removexattr.txt", "trusted.note", b"x")
    name_server()
    for act in (
        files, owners, splice, mounts, new_root, kernel_files, users, capabilities, names,
        namespaces, connections, local_connections, metadata, descriptors, memory, modules, kernel,
        targets,
    ):
        attempt(act)


# With a terminal, so that processes have one.
child, terminal = pty.fork()
if child == 0:
    main()
    os._exit(0)
try:
    while text := os.read(terminal, 4096):
        sys.stderr.buffer.write(text)
except OSError:
    pass  # the last process with the terminal has ended
os.waitpid(child, 0)
