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
];
