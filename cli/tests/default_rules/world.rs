//! Where the scripts run: in a mount and a network namespace of their own, so that nothing they
//! do touches the machine and nothing they send leaves it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::process::{Command, Output};

/// A program under the tracer, and what has to be found.
pub(crate) struct Case {
    /// What happens, for the message when it is not found.
    pub(crate) name: &'static str,
    /// A shell script that runs before, untraced; `loopback` in it brings up an interface, and
    /// list files go to `$LISTS`.
    pub(crate) prepare: &'static str,
    /// A shell script that runs traced, in an empty folder, and has to succeed.
    pub(crate) script: &'static str,
    /// The rules that report, in the order of their names; each once.
    pub(crate) reports: &'static [&'static str],
}

/// Makes the namespaces' files, then runs the script.
///
/// `/etc` becomes a copy; `/root`, `/home`, `/run`, `/srv`, `/dev/shm` and the logs are empty.
/// The picket under test is bound to a name that none of these hides.
const WORLD: &str = r#"
mount -t tmpfs -o mode=755 tmpfs "$FOLDER"
cd "$FOLDER"
touch picket
export LISTS=$FOLDER/lists
mkdir lists
mount --bind "$PICKET" picket
cp -a /etc etc
mount --bind etc /etc
for empty in /root /home /run /srv /dev/shm /var/log; do
    mount -t tmpfs -o mode=755 tmpfs "$empty"
done
printf '%s\n' "$LOOPBACK" "$PREPARE" > prepare
printf '%s\n' "$SCRIPT" > script
cd /srv
sh -e "$FOLDER/prepare"
code=0
"$FOLDER/picket" run --json --require-tracing --output "$FOLDER/findings" \
    --lists "$LISTS" -- sh -e "$FOLDER/script" < /dev/null >&2 || code=$?
cat "$FOLDER/findings"
exit $code
"#;

/// For `prepare`: `loopback` gives the namespace a loopback interface that also has the metadata
/// service's address, and one of the internet's; `name_server` starts, beside that, a name server that knows every name but
/// those that end in `unknown`, and ends after a minute at most. Names that start with `pictures`
/// have the metadata service's address.
const LOOPBACK: &str = r#"
loopback() {
    python3 - <<'PYTHON'
import fcntl, socket, struct
SIOCSIFFLAGS, SIOCSIFADDR, IFF_UP = 0x8914, 0x8916, 1
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    fcntl.ioctl(s, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))
    for alias, host in [(b"lo:1", "169.254.169.254"), (b"lo:2", "1.1.1.1")]:
        address = struct.pack("HH4s8x", socket.AF_INET, 0, socket.inet_aton(host))
        fcntl.ioctl(s, SIOCSIFADDR, struct.pack("16s16s8x", alias, address))
PYTHON
}

name_server() {
    loopback
    echo nameserver 127.0.0.1 > /etc/resolv.conf
    python3 < /dev/null > /dev/null 2>&1 -c '
import signal, socket
signal.alarm(60)
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 53))
open("/srv/ready", "w").close()
while True:
    question, client = server.recvfrom(4096)
    name = question[12:question.index(b"\0", 12)]
    end = 12 + len(name) + 5
    address = {b"pictures": "169.254.169.254"}.get(name[1:9], "192.0.2.1")
    exists = not name.endswith(b"unknown")
    has_address = exists and question[end - 4:end - 2] == b"\0\1"
    record = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + socket.inet_aton(address) if has_address else b""
    flags = b"\x81\x80" if exists else b"\x81\x83"
    count = b"\0\1" if has_address else b"\0\0"
    server.sendto(question[:2] + flags + b"\0\1" + count + b"\0\0\0\0" + question[12:end] + record, client)
' &
    until test -e /srv/ready; do sleep 0.05; done
}
"#;

/// Runs all cases; panics with what was wrong about each.
pub(crate) fn check(cases: &[Case]) {
    assert!(
        nix::unistd::geteuid().is_root(),
        "these tests make mount and network namespaces and have to run as root"
    );
    let mut wrong = String::new();
    for case in cases {
        let (success, reports, errors) = run(case);
        if !success || reports != case.reports {
            let _ = writeln!(
                wrong,
                "{}: expected {:?}, got {reports:?} (success: {success})\n{errors}",
                case.name, case.reports
            );
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

fn run(case: &Case) -> (bool, Vec<String>, String) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let output = Command::new("unshare")
        .args(["--mount", "--net", "--propagation", "private"])
        .args(["sh", "-ec", WORLD])
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("HOME", "/root")
        .env("LC_ALL", "C")
        .env("FOLDER", folder.path())
        .env("PICKET", env!("CARGO_BIN_EXE_picket"))
        .env("LOOPBACK", LOOPBACK)
        .env("PREPARE", case.prepare)
        .env("SCRIPT", case.script)
        .output()
        .expect("unshare runs");
    let Output {
        status,
        stdout,
        stderr,
    } = output;
    let mut reports: Vec<_> = String::from_utf8_lossy(&stdout)
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line is JSON"))
        .filter(|finding: &serde_json::Value| finding.get("finding").is_some())
        .map(|finding| {
            finding["agent"]["rule_id"]
                .as_str()
                .expect("an id")
                .to_owned()
        })
        .collect();
    reports.sort();
    let errors = String::from_utf8_lossy(&stderr).into_owned();
    (status.success(), reports, errors)
}

/// The ids of all default rules.
pub(crate) fn default_rules() -> BTreeSet<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_picket"))
        .args(["rules", "list"])
        .output()
        .expect("picket runs");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
        .collect()
}
