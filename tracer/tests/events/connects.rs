//! Connects.

use super::*;

/// Connects of a Python program, but for those that its libraries make on their own (such as
/// to a name service cache).
fn connects(name: &str, script: impl Fn(&Scratch) -> String) -> Vec<(Address, u16, bool)> {
    let record = record(name, "connect", |scratch| {
        // Ends without closing its sockets first, so that each can be looked at.
        format!(
            "python3 -I -S -c 'import os, socket as s\n{}\nos._exit(0)'",
            script(scratch)
        )
    });
    let events = record.of(EventType::Connect);
    let all = events.iter().map(|event| match &event.kind {
        EventKind::Connect { address, protocol } => {
            (address.clone(), protocol.0, is_seen(event.outcome))
        }
        _ => unreachable!(),
    });
    all.filter(|(address, ..)| !matches!(address, Address::UnixPath(path) if path.contains("nscd")))
        .collect()
}

fn ip(address: &str, port: u16) -> Address {
    Address::Ip {
        ip: address.parse().unwrap(),
        port,
    }
}

#[test]
fn connects_are_told_with_address_and_protocol() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let all = connects("connect", |scratch| {
        let socket = scratch.path("other.sock");
        let other = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        std::mem::forget(other);
        format!(
            "a=s.socket(); a.connect((\"127.0.0.1\",{port}))
b=s.socket(s.AF_INET,s.SOCK_DGRAM); b.connect((\"127.0.0.1\",53))
c=s.socket(s.AF_UNIX); c.connect(\"{}\")",
            socket.display()
        )
    });
    let [tcp, udp, unix] = &all[..] else {
        panic!("{all:?}")
    };
    assert_eq!(*tcp, (ip("127.0.0.1", port), 6, true));
    assert_eq!(*udp, (ip("127.0.0.1", 53), 17, true));
    assert!(
        matches!(&unix.0, Address::UnixPath(path) if path.ends_with("/other.sock")),
        "{unix:?}"
    );
    assert!(unix.2, "{unix:?}");
}

/// A connection is not taken for one to whoever the descriptor is connected with a moment later.
#[test]
fn a_descriptor_that_is_for_another_socket_afterwards_does_not_change_where_it_went() {
    let listeners = [(); 2].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let [good, other] = listeners
        .each_ref()
        .map(|listener| listener.local_addr().unwrap().port());
    let all = connects("exchanged", |_| {
        format!(
            "import os
good=s.socket(); good.connect((\"127.0.0.1\",{good}))
for _ in range(20):
    used=s.socket(); kept=os.dup(used.fileno())
    used.connect((\"127.0.0.1\",{other})); os.dup2(good.fileno(),used.fileno())"
        )
    });
    let told: Vec<_> = all.iter().map(|(address, ..)| address.clone()).collect();
    let mut expected = vec![ip("127.0.0.1", good)];
    expected.extend(vec![ip("127.0.0.1", other); 20]);
    assert_eq!(told, expected);
}

/// Where the machine has no IPv6 the call fails: one engine knows, the other cannot tell.
#[test]
fn ipv6_connects_are_told_too() {
    let all = connects("connect6", |_| {
        "b=s.socket(s.AF_INET6,s.SOCK_DGRAM)
try: b.connect((\"::1\",53))
except OSError: pass"
            .into()
    });
    let has_ipv6 = std::net::UdpSocket::bind("[::1]:0").is_ok();
    let expected = match (has_ipv6, engine()) {
        (false, "ptrace") => vec![],
        _ => vec![(ip("::1", 53), 17, has_ipv6)],
    };
    assert_eq!(all, expected);
}
