//! Addresses and files that lists name.

use crate::world::Case;

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "addresses of six lists are contacted, by a client",
        prepare: r#"
loopback
echo 127.0.1.1 > $LISTS/mining-pools.ips
echo 127.0.2.0/24 > $LISTS/command-and-control.ips
echo 127.0.3.1 > $LISTS/tor-relays.ips
echo 127.0.4.1 > $LISTS/tor-guards.ips
echo 127.0.5.1 > $LISTS/blackholes.ips
echo 127.0.6.1 > $LISTS/drop-points.ips
"#,
        script: r#"
python3 - <<'PYTHON'
import socket
for network in range(1, 8):
    with socket.socket() as client:
        assert client.connect_ex((f"127.0.{network}.1", 9)) != 0
PYTHON
"#,
        reports: &[
            "picket_blackhole_address",
            "picket_control_address",
            "picket_drop_point_address",
            "picket_mining_pool_address",
            "picket_tor_client",
        ],
    },
    Case {
        name: "a Tor relay is contacted by what waits for connections itself",
        prepare: "loopback; echo 127.0.3.1 > $LISTS/tor-relays.ips; echo 127.0.3.1 > $LISTS/tor-guards.ips",
        script: r#"
python3 - <<'PYTHON'
import socket
server = socket.create_server(("127.0.0.1", 0))
with socket.socket() as client:
    assert client.connect_ex(("127.0.3.1", 9)) != 0
PYTHON
"#,
        reports: &["picket_tor_relay"],
    },
    Case {
        name: "a program whose sum is listed is run, twice, and another one",
        prepare: "sha256sum /usr/bin/true | cut -d' ' -f1 > $LISTS/malware.hashes; cp /usr/bin/true tool",
        script: "./tool; ./tool; /usr/bin/env",
        reports: &["picket_malware_executed"],
    },
    Case {
        name: "domains of ten lists are looked up, and one of none",
        prepare: r#"
name_server
for list in mining-pools command-and-control drive-by phishing blackholes drop-points abused \
    cryptocurrency malicious suspicious; do
    echo $list.example > $LISTS/$list.domains
done
"#,
        script: r#"
for list in mining-pools command-and-control drive-by phishing blackholes drop-points abused \
    cryptocurrency malicious suspicious none; do
    getent ahostsv4 $list.example
done
"#,
        reports: &[
            "picket_abused_domain",
            "picket_blackhole_domain",
            "picket_control_domain",
            "picket_cryptocurrency_domain",
            "picket_drive_by_domain",
            "picket_drop_point_domain",
            "picket_malicious_domain",
            "picket_mining_pool_domain",
            "picket_phishing_domain",
            "picket_suspicious_domain",
        ],
    },
    Case {
        name: "a program looks for the domain of the day, another one for a name that is wrong",
        prepare: "name_server",
        script: r#"
python3 - <<'PYTHON'
import hashlib, socket
for day in range(12):
    name = hashlib.sha256(b"%d" % day).hexdigest()[:20]
    try: socket.getaddrinfo(f"{name}.unknown", 80)
    except socket.gaierror: pass
PYTHON
getent ahostsv4 databse.unknown || true
"#,
        reports: &["picket_generated_domains"],
    },
    Case {
        name: "names of ten lists are asked for, some twice, and one of none",
        prepare: r#"
echo control.example > $LISTS/command-and-control.domains
echo drive-by.example > $LISTS/drive-by.domains
echo phishing.example > $LISTS/phishing.domains
echo blackhole.example > $LISTS/blackholes.domains
echo drop-point.example > $LISTS/drop-points.domains
echo malicious.example > $LISTS/malicious.domains
name_server
"#,
        script: r#"
ask() { python3 -c 'import socket, sys; [socket.gethostbyname(name) for name in sys.argv[1:]]' "$@"; }
ask control.example www.drive-by.example phishing.example blackhole.example \
    drop-point.example a.b.MALICIOUS.example pool.supportxmr.com xmrig.com x.oast.fun me.ngrok.io \
    control.example pool.supportxmr.com honest.example
"#,
        reports: &[
            "picket_abused_domain",
            "picket_blackhole_domain",
            "picket_control_domain",
            "picket_cryptocurrency_domain",
            "picket_drive_by_domain",
            "picket_drop_point_domain",
            "picket_malicious_domain",
            "picket_mining_pool_domain",
            "picket_phishing_domain",
            "picket_suspicious_domain",
        ],
    },
    Case {
        name: "domains that a formula made do not exist",
        prepare: "name_server",
        script: r#"
python3 - <<'PYTHON'
import socket
for name in """xjqwkzvbpt qzkxvmwrjdfh wvrtqpljkxbz hkqxzjvtrwpb zxcvqwrtpkjh kqjzxwvfmbpt
               vbqkxzjwptrd pqxzvkjwbmtr jzkqxvwpbtdr tzqkvxjwbprm bqxzkvjwtpmd""".split():
    try:
        socket.gethostbyname(name + ".unknown")
    except OSError:
        pass
PYTHON
"#,
        reports: &["picket_generated_domains"],
    },
    Case {
        name: "words that do not exist, and made up domains that do",
        prepare: "name_server",
        script: r#"
python3 - <<'PYTHON'
import socket
for name in """storefront payments inventory recommendations notifications authentication
               warehouse statistics thumbnails localization translations""".split():
    try:
        socket.gethostbyname(name + ".unknown")
    except OSError:
        pass
for name in """xjqwkzvbpt qzkxvmwrjdfh wvrtqpljkxbz hkqxzjvtrwpb zxcvqwrtpkjh kqjzxwvfmbpt
               vbqkxzjwptrd pqxzvkjwbmtr jzkqxvwpbtdr tzqkvxjwbprm bqxzkvjwtpmd""".split():
    socket.gethostbyname(name + ".example")
PYTHON
"#,
        reports: &[],
    },
];
