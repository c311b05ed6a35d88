//! Requests to metadata services.

use super::*;

/// The requests that were told of.
fn requests(record: &Record) -> Vec<&Imds> {
    let events = record.of(EventType::Imds).into_iter();
    let imds = events.map(|event| match &event.kind {
        EventKind::Imds(imds) => &**imds,
        _ => unreachable!(),
    });
    imds.collect()
}

#[test]
fn requests_to_metadata_services_are_told() {
    let record = in_world(
        "imds",
        "imds",
        r#"
import http.client
def ask(host, method, path, **headers):
    c = http.client.HTTPConnection(host)
    c.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    assert c.getresponse().read() == b"ok"
ask("127.0.0.1", "GET", "/latest/before")
ask("169.254.169.254", "GET", "/latest/meta-data/", User_Agent="curl/8")
ask("169.254.169.254", "PUT", "/latest/api/token", X_aws_ec2_metadata_token_ttl_seconds="60")
ask("169.254.170.2", "GET", "/v2/credentials/secret-key")
ask("127.0.0.1", "GET", "/latest/after")
"#,
    );
    let all: Vec<_> = requests(&record)
        .into_iter()
        .map(|imds| (&*imds.url, &*imds.host, &*imds.user_agent, imds.is_v2))
        .collect();
    assert_eq!(
        all,
        [
            ("/latest/meta-data/", "169.254.169.254", "curl/8", false),
            ("/latest/api/token", "169.254.169.254", "", true),
            ("/v2/credentials/********", "169.254.170.2", "", false),
        ]
    );
}

/// What is told of each: the path.
fn paths(record: &Record) -> Vec<&str> {
    requests(record).iter().map(|imds| &*imds.url).collect()
}

/// On a connected stream a request is data like any other.
const WRITES: &str = r#"
import os, socket, threading
def head(path): return b"GET /latest/%s HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n" % path
def ask(path, send=os.write, host="169.254.169.254", **more):
    with socket.create_connection((host, 80), **more) as s:
        fd = os.dup(s.fileno())
        send(fd, head(path)); s.recv(512)
        os.close(fd)
# Others there are, and they wait.
threading.Thread(target=threading.Event().wait, daemon=True).start()
ask(b"write")
ask(b"elsewhere", host="127.0.0.1")
ask(b"vectors", lambda fd, data: os.writev(fd, [data[:9], data[9:]]))
ask(b"limited", timeout=60)
# One after the other, as for the token and what it is for.
with socket.create_connection(("169.254.169.254", 80)) as s:
    for path in (b"first", b"second", b"third"):
        os.write(s.fileno(), head(path)); s.recv(512)
# Seen once, by whichever way.
with socket.create_connection(("169.254.169.254", 80)) as s:
    s.send(head(b"send")); s.recv(512)
    s.sendmsg([head(b"message")]); s.recv(512)
    # In pieces; and with an address, of which TCP takes no notice.
    s.sendmsg([b"", b"GE", head(b"pieces")[2:]]); s.recv(512)
    s.sendto(head(b"address"), ("127.0.0.9", 9)); s.recv(512)
"#;

#[test]
fn requests_are_told_whatever_call_sends_them() {
    let record = in_world("writes", "imds", WRITES);
    let named = [
        "write", "vectors", "limited", "first", "second", "third", "send", "message", "pieces",
        "address",
    ];
    assert_eq!(paths(&record), named.map(|name| format!("/latest/{name}")));
}

/// The connect sleeps until its second try: what follows the thread must not be noticed, and
/// nothing be told twice.
#[test]
fn a_connect_that_sleeps_is_followed_and_told_once() {
    let record = in_world(
        "sleeping-connect",
        "imds,connect",
        r#"
import os, select, socket, time
server = socket.socket(); server.bind(("169.254.169.254", 8080)); server.listen(0)
go, ready = os.pipe(), os.pipe()
if os.fork() == 0:
    # What is not accepted stands in the way of the next.
    kept = [socket.socket() for _ in range(4)]
    for one in kept:
        one.setblocking(False)
        try: one.connect(("169.254.169.254", 8080))
        except BlockingIOError: pass
    os.write(ready[1], b"x"); os.read(go[0], 1)
    time.sleep(0.3)
    # Here and not in a thread of the other's, which would wait for it after its connect.
    while True:
        can, _, _ = select.select([server, go[0]], [], [])
        if go[0] in can: os._exit(0)
        server.accept()
os.read(ready[0], 1); os.write(go[1], b"x")
start = time.monotonic()
s = socket.socket()
s.connect(("169.254.169.254", 8080))
assert time.monotonic() - start > 0.2, "it did not sleep"
os.write(s.fileno(), b"GET /latest/late HTTP/1.1\r\nHost: x\r\n\r\n")
os.write(go[1], b"x")
os._exit(0)
"#,
    );
    assert_eq!(paths(&record), ["/latest/late"]);
    let connects = record.of(EventType::Connect).into_iter();
    let main = record.processes()[0].pid;
    let connects: Vec<_> = connects.filter(|event| event.pid == main).collect();
    assert_eq!(connects.len(), 1, "{connects:#?}");
}

/// Where a connect has a time limit of the socket's own, an interruption would show: then the
/// thread is left alone.
#[test]
fn a_connect_that_would_notice_is_left_alone() {
    let record = in_world(
        "limited-connect",
        "imds,connect",
        r#"
import os, socket, struct, threading, time
server = socket.socket(); server.bind(("169.254.169.254", 8080)); server.listen(0)
kept = [socket.socket() for _ in range(4)]
for one in kept:
    one.setblocking(False)
    try: one.connect(("169.254.169.254", 8080))
    except BlockingIOError: pass
def accept():
    time.sleep(0.3)
    while True: server.accept()
threading.Thread(target=accept, daemon=True).start()
def connect():
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 60, 0))
    s.connect(("169.254.169.254", 8080))
    print("connected", flush=True)
    os._exit(0)
threading.Thread(target=connect).start()
"#,
    );
    // The program has ended well.
    let connects = record.of(EventType::Connect);
    let last = connects.last().map(|event| event.kind.clone());
    assert!(
        matches!(
            last,
            Some(EventKind::Connect {
                address: Address::Ip { port: 8080, .. },
                ..
            })
        ),
        "{last:?}"
    );
}

/// What people ask metadata services with: each with calls of its own, on one thread.
#[cfg(feature = "test-tools")]
#[test]
fn the_programs_that_people_ask_with_are_understood() {
    const NODE: &str = "
const http = require('http'), agent = new http.Agent({keepAlive: true});
const ask = (method, path, then) => http.request({host: '169.254.169.254', method, path, agent},
    answer => { answer.resume(); answer.on('end', then); }).end();
ask('PUT', '/latest/api/token', () => ask('GET', '/latest/meta-data/', () => process.exit(0)));";
    const SHELL: &str = "exec 3<>/dev/tcp/169.254.169.254/80
printf 'GET /latest/meta-data/ HTTP/1.0\\r\\n\\r\\n' >&3; head -c 5 <&3 >/dev/null";
    const URL: &str = "http://169.254.169.254/latest/meta-data/";
    let token = "/latest/api/token";
    let data = "/latest/meta-data/";
    for (words, expected) in [
        (&["curl", "-s", "-o", "/dev/null", URL][..], &[data][..]),
        (&["wget", "-q", "-O", "/dev/null", URL], &[data]),
        (&["busybox", "wget", "-q", "-O", "/dev/null", URL], &[data]),
        (&["bash", "-c", SHELL], &[data]),
        (&["node", "-e", NODE], &[token, data]),
    ] {
        let scratch = Scratch::new(&format!("asks-{}", words[0]));
        let record = run_in_world(&scratch, "imds", words);
        assert_eq!(paths(&record), expected, "{words:?}");
    }
}

/// The class library's client that AWS' SDK for Java asks metadata services with: without a time
/// limit the connect blocks, with one the thread polls for its end. Now and then a thread of a JVM
/// waits for the collector or the compiler before it has sent its request, and is let go.
#[cfg(feature = "test-tools")]
#[test]
fn requests_of_a_jvm_are_told() {
    const PROGRAM: &str = r#"
import java.net.HttpURLConnection;
import java.net.URI;

public class Asks {
    static void ask(String method, String path, int limit) throws Exception {
        var url = URI.create("http://169.254.169.254/latest/" + path).toURL();
        var connection = (HttpURLConnection) url.openConnection();
        connection.setRequestMethod(method);
        connection.setRequestProperty("User-Agent", "sdk-java");
        connection.setConnectTimeout(limit);
        connection.setReadTimeout(limit);
        if (connection.getResponseCode() != 200) System.exit(1);
        connection.getInputStream().readAllBytes();
        connection.disconnect();
    }

    public static void main(String[] arguments) throws Exception {
        for (int i = 0; i < 20; i++) {
            ask("GET", "unlimited/" + i, 0);
            ask("PUT", "limited/" + i, 100_000);
        }
    }
}"#;
    let scratch = Scratch::new("java-asks");
    std::fs::write(scratch.path("Asks.java"), PROGRAM).unwrap();
    let classes = scratch.text("");
    let compile = ["javac", "-d", &classes, &scratch.text("Asks.java")];
    let built = output(Command::new(compile[0]).args(&compile[1..]));
    assert!(built.status.success(), "{}", stderr(&built));
    let record = run_in_world(&scratch, "imds", &["java", "-cp", &classes, "Asks"]);
    let told: std::collections::BTreeSet<_> = paths(&record).into_iter().collect();
    println!("{} of 40 requests", told.len());
    assert_eq!(told.len(), paths(&record).len(), "none twice");
    for kind in ["/latest/unlimited/", "/latest/limited/"] {
        assert!(told.iter().any(|path| path.starts_with(kind)), "{told:?}");
    }
    let agents = requests(&record).into_iter().map(|imds| &*imds.user_agent);
    assert!(agents.into_iter().all(|agent| agent == "sdk-java"));
}

/// Go hands a request to whichever of its threads is free, and has others about other things.
#[cfg(feature = "test-tools")]
const GO_ASKS: &str = r#"
package main

import ("fmt"; "io"; "net/http"; "os"; "strings"; "sync"; "time")

func ask(client *http.Client, method, path string) {
    request, _ := http.NewRequest(method, "http://169.254.169.254/latest/"+path, nil)
    answer, err := client.Do(request)
    if err != nil { fmt.Println(err); os.Exit(1) }
    io.ReadAll(answer.Body)
    answer.Body.Close()
}

// Whether a tracer is attached to one of our threads.
func attached() bool {
    threads, _ := os.ReadDir("/proc/self/task")
    for _, thread := range threads {
        status, _ := os.ReadFile("/proc/self/task/" + thread.Name() + "/status")
        if len(status) > 0 && !strings.Contains(string(status), "TracerPid:\t0\n") { return true }
    }
    return false
}

func main() {
    for range 4 {
        go func() { for range time.Tick(time.Millisecond) { os.Getppid() } }()
    }
    apart := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
    for i := range 20 { ask(apart, "GET", fmt.Sprint("apart/", i)) }
    // The token, and what it is for, on one connection.
    for i := range 10 {
        ask(http.DefaultClient, "PUT", fmt.Sprint("kept/token/", i))
        ask(http.DefaultClient, "GET", fmt.Sprint("kept/", i))
    }
    var all sync.WaitGroup
    for i := range 20 {
        all.Add(1)
        go func() { ask(apart, "GET", fmt.Sprint("at-once/", i)); all.Done() }()
    }
    all.Wait()
    for start := time.Now(); os.Args[1] == "notification" && attached(); time.Sleep(10 * time.Millisecond) {
        if time.Since(start) > 60 * time.Second { os.Exit(3) }
    }
}"#;

/// A machine that stands still for long may miss some: told are all where it does not.
#[cfg(feature = "test-tools")]
#[test]
fn requests_of_go_are_told_whichever_thread_sends_them_and_its_threads_are_let_go() {
    let scratch = Scratch::new("goasks");
    let program = build_go(&scratch, "asks", GO_ASKS);
    for processors in ["GOMAXPROCS=1", "GOMAXPROCS=2", "GOMAXPROCS=8"] {
        let record = run_in_world(&scratch, "imds", &["env", processors, &program, engine()]);
        let told: std::collections::BTreeSet<_> = paths(&record).into_iter().collect();
        println!("{} of 60 requests with {processors}", told.len());
        assert_eq!(told.len(), paths(&record).len(), "none twice");
        // One after the other: where many are under way, a busy machine lets the program go before
        // it has sent them all.
        let in_turn = told.iter().filter(|path| !path.contains("/at-once/"));
        assert!(in_turn.count() >= 20, "{processors}: {told:?}");
        let main = record.exec(&program).0.pid;
        let requests = record.of(EventType::Imds);
        assert!(requests.iter().all(|event| event.pid == main));
    }
}
