//! Questions to name servers, and their answers.

use super::*;

fn messages(record: &Record) -> Vec<&Dns> {
    let events = record.of(EventType::Dns).into_iter();
    let dns = events.map(|event| match &event.kind {
        EventKind::Dns(dns) => &**dns,
        _ => unreachable!(),
    });
    dns.collect()
}

/// Name, type, and addresses of an answer.
fn told(dns: &Dns) -> (String, u16, bool, Vec<String>) {
    let addresses = dns.answers.iter().map(ToString::to_string).collect();
    (
        dns.name.clone(),
        dns.question_type,
        dns.response_code.is_some(),
        addresses,
    )
}

#[test]
fn the_resolver_of_the_c_library_is_understood() {
    let record = in_world(
        "resolver",
        "dns",
        "import socket; socket.getaddrinfo('rebind.example.org', 80, type=socket.SOCK_STREAM)",
    );
    let all: Vec<_> = messages(&record).into_iter().map(told).collect();
    let name = || "rebind.example.org".to_owned();
    for kind in [1, 28] {
        assert!(all.contains(&(name(), kind, false, vec![])), "{all:?}");
    }
    assert!(
        all.contains(&(name(), 1, true, vec!["169.254.169.254".into()])),
        "{all:?}"
    );
    assert!(
        all.contains(&(name(), 28, true, vec!["::1".into()])),
        "{all:?}"
    );
    assert_eq!(all.len(), 4, "{all:?}");
}

/// Waits in `recvfrom` itself: there is nothing to look at before the call.
#[test]
fn an_answer_that_comes_while_the_program_sleeps_is_told() {
    let record = in_world(
        "sleeper",
        "dns",
        r#"
import socket
question = b"\1\2\1\0\0\1\0\0\0\0\0\0\4Evil\7example\0\0\1\0\1"
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for i in range(3):
    s.sendto(bytes([i]) + question[1:], ("127.0.0.1", 53))
    s.recvfrom(512)
"#,
    );
    let all: Vec<_> = messages(&record).into_iter().map(told).collect();
    let name = || "Evil.example".to_owned();
    let expected = [
        (name(), 1, false, vec![]),
        (name(), 1, true, vec!["169.254.169.254".to_owned()]),
    ];
    assert_eq!(all, [expected.clone(), expected.clone(), expected].concat());
}

#[test]
fn other_datagrams_are_not_taken_for_questions() {
    let record = in_world(
        "datagrams",
        "dns",
        r#"
import socket
a = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); a.bind(("127.0.0.1", 5353))
b = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
question = b"\1\2\1\0\0\1\0\0\0\0\0\0\4evil\7example\0\0\1\0\1"
b.sendto(question, ("127.0.0.1", 5353)); a.recvfrom(512)
b.sendto(b"noise", ("127.0.0.1", 53))
"#,
    );
    assert_eq!(messages(&record), Vec::<&Dns>::new());
}

/// By calls that say nothing of a name server, such as Go's own resolver makes them; with
/// other work between connect and question, and a second question on the same socket after the
/// answer, which is not looked for.
#[test]
fn questions_on_connected_sockets_are_told() {
    let record = in_world(
        "connected",
        "dns",
        r#"
import os, signal, socket, threading
question = b"\1\2\1\0\0\1\0\0\0\0\0\0\5name%d\7example\0\0\1\0\1"
threading.Thread(target=threading.Event().wait, daemon=True).start()
signal.signal(signal.SIGURG, lambda *_: None)
def ask(number, send):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.connect(("127.0.0.1", 53))
    s.getsockname()
    signal.pthread_kill(threading.get_ident(), signal.SIGURG)
    send(s, question % number)
    s.recv(512)
    s.send(question % 9); s.recv(512)
ask(1, lambda s, data: os.write(s.fileno(), data))
ask(2, lambda s, data: os.writev(s.fileno(), [data[:5], data[5:]]))
ask(3, lambda s, data: s.send(data))
ask(4, lambda s, data: s.sendmsg([data]))
# Somewhere else, and something else.
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect(("127.0.0.1", 54))
s.send(question % 5)
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect(("127.0.0.1", 53))
os.write(1, question % 6)
"#,
    );
    let all: Vec<_> = messages(&record).into_iter().map(told).collect();
    let expected = [1, 2, 3, 4].map(|number| {
        let name = format!("name{number}.example");
        let answer = vec!["169.254.169.254".to_owned()];
        [(name.clone(), 1, false, vec![]), (name, 1, true, answer)]
    });
    assert_eq!(all, expected.concat());
}

/// On EKS Fargate root has no CAP_SYS_PTRACE: a program that has given root up can only be attached to
/// by its own user.
#[test]
fn questions_of_a_program_that_has_given_root_up_are_told() {
    let scratch = Scratch::new("given-up");
    let client = scratch.script(
        "client",
        r#"
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.connect(("127.0.0.1", 53))
s.send(b"\1\2\1\0\0\1\0\0\0\0\0\0\4name\7example\0\0\1\0\1")
s.recv(512)
"#,
    );
    set_mode(&scratch.path(""), 0o755);
    let record = run_in_world_by(
        &scratch,
        &[
            "setpriv",
            "--bounding-set=-sys_ptrace,-sys_admin",
            "--inh-caps=-all",
        ],
        "dns",
        &[
            "setpriv",
            "--reuid=101",
            "--regid=101",
            "--clear-groups",
            "env",
            "PATH=/usr/local/bin:/usr/bin:/bin",
            "python3",
            "-I",
            "-S",
            &client,
        ],
    );
    let all: Vec<_> = messages(&record).into_iter().map(told).collect();
    let name = "name.example".to_owned();
    let answer = vec!["169.254.169.254".to_owned()];
    assert_eq!(
        all,
        [(name.clone(), 1, false, vec![]), (name, 1, true, answer)]
    );
}

/// In as many pieces as somebody likes, behind empty ones, after as many others as the kernel takes,
/// and with an address that has no length, which is none.
#[test]
fn questions_in_pieces_and_crowds_are_told() {
    let scratch = Scratch::new("pieces");
    let source = r#"
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
static struct sockaddr_in server = {.sin_family = AF_INET};
static unsigned char text[64];
static int question(const char *name) {
    int length = 12;
    memcpy(text, "\1\2\1\0\0\1\0\0\0\0\0", 12);
    text[length++] = strlen(name);
    strcpy((char *)text + length, name);
    length += strlen(name);
    memcpy(text + length, "\7example\0\0\1\0\1", 13);
    return length + 13;
}
int main(void) {
    static struct mmsghdr all[1024];
    struct iovec parts[64], none = {text, 0};
    server.sin_port = htons(53);
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int s = socket(AF_INET, SOCK_DGRAM, 0), length;
    struct msghdr one = {&server, sizeof server, parts, 2};
    all[0].msg_hdr = one;
    length = question("split");
    parts[0] = (struct iovec){text, 5}; parts[1] = (struct iovec){text + 5, length - 5};
    if (sendmmsg(s, all, 1, 0) != 1) return 1;
    length = question("behind");
    parts[0] = none; parts[1] = (struct iovec){text, length};
    if (sendmmsg(s, all, 1, 0) != 1) return 2;
    length = question("bytes");
    for (int i = 0; i < length; i++) parts[i] = (struct iovec){text + i, 1};
    all[0].msg_hdr.msg_iovlen = length;
    if (sendmmsg(s, all, 1, 0) != 1) return 3;
    length = question("last");
    parts[0] = none; parts[1] = (struct iovec){text, length};
    for (int i = 0; i < 1024; i++) {
        all[i].msg_hdr = one;
        all[i].msg_hdr.msg_iovlen = i == 1023 ? 2 : 1;
    }
    if (sendmmsg(s, all, 1024, 0) != 1024) return 4;
    if (connect(s, (void *)&server, sizeof server)) return 5;
    // The next one is not followed, but seen by the filter.
    char answer[512];
    recv(s, answer, sizeof answer, MSG_DONTWAIT);
    length = question("nowhere");
    parts[0].iov_base = text; parts[0].iov_len = length;
    server.sin_port = htons(80);
    all[0].msg_hdr = one;
    all[0].msg_hdr.msg_namelen = 0; all[0].msg_hdr.msg_iovlen = 1;
    if (sendmmsg(s, all, 1, 0) != 1) return 6;
    return 0;
}"#;
    let program = build(&scratch, "pieces", &[], source);
    let record = run_in_world(&scratch, "dns", &[&program]);
    let questions = messages(&record).into_iter();
    let questions = questions.filter(|dns| dns.response_code.is_none());
    let asked: Vec<_> = questions.map(|dns| dns.name.clone()).collect();
    let expected = ["split", "behind", "bytes", "last", "nowhere"];
    assert_eq!(asked, expected.map(|name| format!("{name}.example")));
}

/// By a call that the filter stops for as well, where something else that is wanted needs that.
#[test]
fn a_question_by_a_message_is_told_once() {
    let record = in_world(
        "message",
        "dns,imds",
        r#"
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
def question(name): return b"\1\2\1\0\0\1\0\0\0\0\0\0\5" + name + b"\7example\0\0\1\0\1"
s.sendto(question(b"first"), ("127.0.0.1", 53))
s.sendmsg([question(b"third")], [], 0, ("127.0.0.1", 53))
"#,
    );
    let questions = messages(&record).into_iter();
    let questions = questions.filter(|dns| dns.response_code.is_none());
    let asked: Vec<_> = questions.map(|dns| &*dns.name).collect();
    assert_eq!(asked, ["first.example", "third.example"]);
}

/// TCP takes no notice of an address that is given with what is sent.
#[test]
fn a_false_address_hides_no_question_that_goes_over_a_stream() {
    let record = in_world(
        "false-address",
        "dns,connect",
        r#"
import socket
server = socket.create_server(("127.0.0.1", 53))
question = b"\1\2\1\0\0\1\0\0\0\0\0\0\5false\7example\0\0\1\0\1"
question = len(question).to_bytes(2, "big") + question
s = socket.create_connection(("127.0.0.1", 53))
s.sendto(question, ("127.0.0.9", 9))
assert server.accept()[0].recv(512) == question
"#,
    );
    let asked: Vec<_> = messages(&record).iter().map(|dns| &*dns.name).collect();
    assert_eq!(asked, ["false.example"]);
}

/// Over a stream a question is data like any other: the thread is followed from its connect. The
/// answer is not told.
#[test]
fn questions_over_tcp_are_told() {
    let record = in_world(
        "stream",
        "dns,connect",
        r#"
import os, socket
server = socket.create_server(("127.0.0.1", 53))
def ask(name, send, to=53, **more):
    question = b"\1\2\1\0\0\1\0\0\0\0\0\0" + bytes([len(name)]) + name + b"\7example\0\0\1\0\1"
    question = len(question).to_bytes(2, "big") + question
    s = socket.create_connection(("127.0.0.1", to), **more)
    send(s, question)
    return s, question
def answered(name, send, **more):
    s, question = ask(name, send, **more)
    assert server.accept()[0].recv(512) == question
answered(b"send", lambda s, data: s.send(data))
answered(b"write", lambda s, data: os.write(s.fileno(), data), timeout=60)
answered(b"vectors", lambda s, data: os.writev(s.fileno(), [data[:2], data[2:]]))
# To somebody else.
ask(b"other", lambda s, data: s.send(data), 80)
"#,
    );
    let all: Vec<_> = messages(&record).into_iter().map(told).collect();
    let expected = ["send", "write", "vectors"];
    let expected = expected.map(|name| (format!("{name}.example"), 1, false, vec![]));
    assert_eq!(all, expected);
    let port = |event: &&picket_events::Event| match &event.kind {
        EventKind::Connect {
            address: Address::Ip { port, .. },
            ..
        } => Some(*port),
        _ => None,
    };
    let connects = record.of(EventType::Connect);
    let ports: Vec<_> = connects.iter().filter_map(port).collect();
    assert_eq!(ports, [53, 53, 53, 80]);
}

/// Whatever call reads them: on a connected socket as Go and `dig` do it, waiting as an event
/// loop does; and as Alpine's C library does it, with two questions at once, where the filter
/// sees the questions only.
#[test]
fn answers_are_told_whatever_call_reads_them() {
    let record = in_world(
        "answers",
        "dns",
        r#"
import os, select, socket
question = b"\1\2\1\0\0\1\0\0\0\0\0\0\5name%d\7example\0\0%s\0\1"
def ask(number, receive):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.connect(("127.0.0.1", 53))
    s.send(question % (number, b"\1"))
    receive(s)
def poll(s):
    p = select.poll(); p.register(s, select.POLLIN); assert p.poll(60000)
    return s.recvmsg(512)
def loop(s):
    s.setblocking(False)
    e = select.epoll(); e.register(s, select.EPOLLIN)
    try: return s.recv(512)
    except BlockingIOError: pass
    assert e.poll(60)
    return os.read(s.fileno(), 512)
ask(1, lambda s: os.read(s.fileno(), 512))
ask(2, lambda s: os.readv(s.fileno(), [bytearray(7), bytearray(505)]))
ask(3, poll)
ask(4, loop)
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("0.0.0.0", 0))
for number, kind in (5, b"\1"), (6, b"\x1c"):
    s.sendto(question % (number, kind), ("127.0.0.1", 53))
for number in range(2): poll(s)
"#,
    );
    let all: Vec<_> = messages(&record).into_iter().map(told).collect();
    let told = |number: u32, kind, answer: &str| {
        let name = format!("name{number}.example");
        let question = (name.clone(), kind, false, vec![]);
        [question, (name, kind, true, vec![answer.to_owned()])]
    };
    let mut expected = [1, 2, 3, 4]
        .map(|number| told(number, 1, "169.254.169.254"))
        .concat();
    let (five, six) = (told(5, 1, "169.254.169.254"), told(6, 28, "::1"));
    let ([ask5, hear5], [ask6, hear6]) = (five, six);
    expected.extend([ask5, ask6, hear5, hear6]);
    assert_eq!(all, expected);
}

#[cfg(feature = "test-tools")]
#[test]
fn the_resolver_of_go_is_understood() {
    const PROGRAM: &str = r#"
package main
import ("context"; "fmt"; "net"; "os")
func main() {
    resolver := net.Resolver{PreferGo: true}
    for i := 0; i < 20; i++ {
        name := fmt.Sprintf("name%d.example.org", i)
        if _, err := resolver.LookupIPAddr(context.Background(), name); err != nil {
            fmt.Println(err); os.Exit(1)
        }
    }
}"#;
    let scratch = Scratch::new("gonames");
    let program = build_go(&scratch, "names", PROGRAM);
    let record = run_in_world(&scratch, "dns", &[&program]);
    let answers = messages(&record).into_iter();
    let answers = answers.filter(|dns| dns.response_code.is_some()).count();
    let asked: std::collections::BTreeSet<_> = messages(&record)
        .into_iter()
        .map(|dns| dns.name.clone())
        .collect();
    let expected: std::collections::BTreeSet<_> = (0..20)
        .map(|number| format!("name{number}.example.org"))
        .collect();
    // Not always all: a goroutine that is moved to another thread is not followed there.
    let questions = messages(&record).len() - answers;
    println!("{questions} of 40 questions, {answers} answers");
    assert!(asked.is_subset(&expected) && !asked.is_empty(), "{asked:?}");
}
