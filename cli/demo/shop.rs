//! The demo's application: a shop over HTTP/1.1, with one hole.
//!
//! It stands for software that Picket's users run: it knows nothing of Picket and links none
//! of it. `/diagnostics?host=` passes its parameter to a shell, which is the hole that
//! `picket demo` climbs through. It listens on loopback only.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, ExitCode};
use std::time::Duration;

const TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";
const USAGE: &str = "usage: shop serve --listen ADDRESS | shop fetch HOST:PORT PATH FILE";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["serve", "--listen", address] => serve(address),
        ["fetch", host, path, file] => fetch(host, path, file),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("shop: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(address: &str) -> io::Result<()> {
    let listener = TcpListener::bind(address)?;
    println!("shop: serving on {address}");
    for stream in listener.incoming() {
        // One client's broken connection is no reason to close the shop.
        if let Err(error) = stream.and_then(answer) {
            eprintln!("shop: {error}");
        }
    }
    Ok(())
}

fn answer(stream: TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut reader = BufReader::new(&stream);
    let mut line = String::new();
    (&mut reader).take(8192).read_line(&mut line)?;
    let mut header = String::new();
    while (&mut reader).take(8192).read_line(&mut header)? > 2 {
        header.clear();
    }
    let target = line.split_whitespace().nth(1).unwrap_or("/");
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let (status, body) = match path {
        "/" => ("200 OK", front_page()),
        "/healthz" => ("200 OK", "ok\n".into()),
        "/orders" => ("200 OK", orders()?),
        "/diagnostics" => (
            "200 OK",
            diagnostics(&decode(query.trim_start_matches("host=")))?,
        ),
        _ => ("404 Not Found", "no such page\n".into()),
    };
    write!(
        &stream,
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

fn front_page() -> String {
    format!(
        "Welcome. Today: {}\n",
        std::env::var("SHOP_MOTD").unwrap_or_default()
    )
}

/// What honest services do: keep a cache file, and use their own service-account token.
fn orders() -> io::Result<String> {
    fs::write("/tmp/cache/orders.new", "3 orders\n")?;
    fs::rename("/tmp/cache/orders.new", "/tmp/cache/orders")?;
    let authorised = fs::read_to_string(TOKEN).is_ok();
    Ok(format!(
        "{}authorised: {authorised}\n",
        fs::read_to_string("/tmp/cache/orders")?
    ))
}

/// The hole: the parameter reaches a shell as it came.
fn diagnostics(host: &str) -> io::Result<String> {
    let output = Command::new("/bin/sh")
        .arg("-c")
        .arg(format!("echo checking {host}"))
        .output()?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A download over plain HTTP, as many programs bring one along.
fn fetch(host: &str, path: &str, file: &str) -> io::Result<()> {
    let mut stream = TcpStream::connect(host)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    // In one piece: a server that answers the first piece and closes would reset the connection.
    let request = format!("GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let body = answer
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .map(|at| at + 4);
    let body = body.ok_or_else(|| io::Error::other("the answer has no body"))?;
    fs::write(file, &answer[body..])
}

fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = text
            .get(at + 1..at + 3)
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (bytes[at], hex) {
            (b'%', Some(byte)) => {
                decoded.push(byte);
                at += 3;
            }
            (b'+', _) => {
                decoded.push(b' ');
                at += 1;
            }
            (byte, _) => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}
