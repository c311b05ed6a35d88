//! Servers, and the small clients that load them over loopback.

use std::ffi::OsString;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::run::{Background, Outcome, command, find, processor_time, to_end};
use crate::workload::{Effort, Sample};

/// How a server is made ready, started, loaded and stopped.
pub(crate) struct Server {
    /// Makes its files, once.
    pub(crate) prepare: fn(&Path) -> anyhow::Result<()>,
    /// Its command, in the foreground, and who it runs as.
    start: fn(&Path, u16) -> anyhow::Result<Vec<OsString>>,
    /// The file with its process id, in its directory.
    pid_file: &'static str,
    /// Signal that ends it quickly and in order.
    signal: nix::sys::signal::Signal,
    /// Loads it, and gives requests a second and what the client took.
    load: fn(u16, Effort) -> anyhow::Result<(f64, Outcome)>,
}

pub(crate) const NGINX_FILE: Server = Server {
    prepare: |home| nginx_files(home, ""),
    start: nginx,
    pid_file: "nginx.pid",
    signal: nix::sys::signal::Signal::SIGQUIT,
    load: wrk,
};

pub(crate) const NGINX_CACHE: Server = Server {
    prepare: |home| nginx_files(home, "open_file_cache max=100 inactive=60s;"),
    start: nginx,
    pid_file: "nginx.pid",
    signal: nix::sys::signal::Signal::SIGQUIT,
    load: wrk,
};

pub(crate) const REDIS: Server = Server {
    prepare: |_| Ok(()),
    start: redis,
    pid_file: "redis.pid",
    signal: nix::sys::signal::Signal::SIGTERM,
    load: redis_benchmark,
};

pub(crate) const POSTGRES: Server = Server {
    prepare: postgres_files,
    start: postgres,
    pid_file: "data/postmaster.pid",
    signal: nix::sys::signal::Signal::SIGINT,
    load: pgbench,
};

/// How long a server may take to start or to stop.
const LIMIT: Duration = Duration::from_secs(30);

impl Server {
    /// Starts it behind a prefix, loads it, stops it; gives seconds for a request, and the
    /// processor time of server and tracer for one, start and stop shared among all.
    pub(crate) fn measure(
        &self,
        prefix: &[OsString],
        home: &Path,
        effort: Effort,
    ) -> anyhow::Result<Sample> {
        let before = processor_time()?;
        let port = free_port()?;
        let words = (self.start)(home, port)?;
        let mut command = command(prefix, &words);
        command.current_dir(home);
        let mut server = Background::start(command)?;
        let start = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if start.elapsed() > LIMIT || server.wait(Duration::ZERO) {
                bail!("{} does not start", words[0].display());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let loaded = (self.load)(port, effort);
        let pid = std::fs::read_to_string(home.join(self.pid_file));
        let pid: i32 = pid
            .context("the server wrote no process id")?
            .lines()
            .next()
            .unwrap_or_default()
            .trim()
            .parse()?;
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), self.signal)?;
        if !server.wait(LIMIT) {
            bail!("{} does not stop", words[0].display());
        }
        let (rate, client) = loaded?;
        if rate <= 0.0 {
            bail!("no request was served");
        }
        let requests = rate * client.elapsed.as_secs_f64();
        let used = processor_time()? - before - client.processor;
        Ok(Sample {
            time: 1.0 / rate,
            processor: used / requests,
        })
    }
}

fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port())
}

fn program(name: &str) -> anyhow::Result<OsString> {
    let path = find(name).with_context(|| format!("{name} is not installed"))?;
    Ok(path.into_os_string())
}

fn nginx_files(home: &Path, cache: &str) -> anyhow::Result<()> {
    std::fs::create_dir_all(home.join("www"))?;
    std::fs::write(home.join("www/file"), "x".repeat(4096))?;
    std::fs::write(home.join("cache.conf"), cache)?;
    Ok(())
}

fn nginx(home: &Path, port: u16) -> anyhow::Result<Vec<OsString>> {
    let at = home.display();
    let cache = std::fs::read_to_string(home.join("cache.conf"))?;
    let text = format!(
        "worker_processes 1; daemon off; pid {at}/nginx.pid; error_log /dev/null;
user root;
events {{ worker_connections 256; }}
http {{
  access_log off; sendfile on; keepalive_requests 1000000000; {cache}
  client_body_temp_path {at}/body; proxy_temp_path {at}/proxy; fastcgi_temp_path {at}/fastcgi;
  uwsgi_temp_path {at}/uwsgi; scgi_temp_path {at}/scgi;
  server {{ listen 127.0.0.1:{port}; root {at}/www; }}
}}
"
    );
    std::fs::write(home.join("nginx.conf"), text)?;
    let config = home.join("nginx.conf").into_os_string();
    Ok(vec![program("nginx")?, "-c".into(), config])
}

/// The number behind a word in a program's output.
fn number_after(output: &str, word: &str) -> anyhow::Result<f64> {
    let rest = output
        .split(word)
        .nth(1)
        .with_context(|| format!("no {word} in {output}"))?;
    let number = rest
        .trim_start_matches([' ', '=', ':', ',', '"'])
        .split(|c: char| !(c.is_ascii_digit() || c == '.'))
        .next()
        .unwrap_or_default();
    number
        .parse()
        .with_context(|| format!("no number after {word} in {output}"))
}

fn wrk(port: u16, effort: Effort) -> anyhow::Result<(f64, Outcome)> {
    let url = format!("http://127.0.0.1:{port}/file");
    let seconds = format!("-d{}s", effort.seconds(2));
    let words = ["wrk", "-t1", "-c16", &seconds, &url];
    let client = to_end(command(&[], &words))?;
    let output = &client.output;
    if output.contains("Non-2xx") {
        bail!("nginx refuses requests: {output}");
    }
    Ok((number_after(output, "Requests/sec:")?, client))
}

fn redis(home: &Path, port: u16) -> anyhow::Result<Vec<OsString>> {
    let words = [
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--appendonly",
        "no",
        "--daemonize",
        "no",
    ];
    let mut all = vec![program("redis-server")?];
    all.extend(words.map(OsString::from));
    all.extend(["--port".into(), port.to_string().into()]);
    all.extend(["--pidfile".into(), home.join("redis.pid").into_os_string()]);
    Ok(all)
}

fn redis_benchmark(port: u16, effort: Effort) -> anyhow::Result<(f64, Outcome)> {
    let (port, requests) = (port.to_string(), effort.of(150_000).to_string());
    let words = [
        "redis-benchmark",
        "-h",
        "127.0.0.1",
        "-p",
        &port,
        "-t",
        "set",
        "-n",
        &requests,
        "-q",
        "--csv",
    ];
    let client = to_end(command(&[], &words))?;
    Ok((number_after(&client.output, "\"SET\"")?, client))
}

/// The newest PostgreSQL that Debian's package has installed.
fn postgres_program(name: &str) -> anyhow::Result<OsString> {
    let mut versions: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .context("postgresql is not installed")?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    versions.sort();
    let newest = versions.pop().context("postgresql is not installed")?;
    Ok(newest.join("bin").join(name).into_os_string())
}

/// PostgreSQL refuses to run as root.
fn as_postgres(words: Vec<OsString>) -> Vec<OsString> {
    if !nix::unistd::geteuid().is_root() {
        return words;
    }
    let mut all: Vec<OsString> = [
        "setpriv",
        "--reuid=postgres",
        "--regid=postgres",
        "--clear-groups",
    ]
    .map(OsString::from)
    .to_vec();
    all.extend(words);
    all
}

fn postgres_files(home: &Path) -> anyhow::Result<()> {
    let data = home.join("data");
    std::fs::create_dir(&data)?;
    if nix::unistd::geteuid().is_root() {
        let user = nix::unistd::User::from_name("postgres")?.context("no user postgres")?;
        for directory in [home, &data] {
            nix::unistd::chown(directory, Some(user.uid), Some(user.gid))?;
        }
    }
    let words = vec![
        postgres_program("initdb")?,
        "--no-sync".into(),
        "--auth=trust".into(),
        "--username=bench".into(),
        "-D".into(),
        data.into_os_string(),
    ];
    let mut initdb = command(&[], &as_postgres(words));
    initdb.current_dir(home);
    to_end(initdb)?;
    // The tables, once, by an untraced server.
    let port = free_port()?;
    let mut server = command(&[], &postgres(home, port)?);
    server.current_dir(home);
    let mut server = Background::start(server)?;
    let start = Instant::now();
    let pgbench = || {
        let port = port.to_string();
        let words = [
            "-i",
            "-q",
            "-s",
            "5",
            "-h",
            "127.0.0.1",
            "-p",
            &port,
            "-U",
            "bench",
            "postgres",
        ];
        let mut all = vec![program("pgbench")?];
        all.extend(words.map(OsString::from));
        to_end(command(&[], &all))
    };
    while let Err(error) = pgbench() {
        if start.elapsed() > LIMIT {
            return Err(error);
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    let pid = std::fs::read_to_string(home.join("data/postmaster.pid"))?;
    let pid = pid.lines().next().unwrap_or_default().parse()?;
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(pid),
        nix::sys::signal::Signal::SIGINT,
    )?;
    server.wait(LIMIT);
    Ok(())
}

fn postgres(home: &Path, port: u16) -> anyhow::Result<Vec<OsString>> {
    let mut words = vec![postgres_program("postgres")?, "-D".into()];
    words.push(home.join("data").into_os_string());
    let options = [
        "-c",
        "listen_addresses=127.0.0.1",
        "-c",
        "unix_socket_directories=",
        "-c",
        "fsync=off",
    ];
    words.extend(options.map(OsString::from));
    words.extend(["-p".into(), port.to_string().into()]);
    Ok(as_postgres(words))
}

fn pgbench(port: u16, effort: Effort) -> anyhow::Result<(f64, Outcome)> {
    let (port, seconds) = (port.to_string(), effort.seconds(3).to_string());
    let words = [
        "-S",
        "-n",
        "-M",
        "prepared",
        "-c",
        "4",
        "-j",
        "1",
        "-T",
        &seconds,
        "-h",
        "127.0.0.1",
        "-p",
        &port,
        "-U",
        "bench",
        "postgres",
    ];
    let mut all = vec![program("pgbench")?];
    all.extend(words.map(OsString::from));
    // Not at once: the server may still be looking for what to recover.
    let start = Instant::now();
    loop {
        match to_end(command(&[], &all)) {
            Ok(client) => return Ok((number_after(&client.output, "tps =")?, client)),
            Err(error) if start.elapsed() > LIMIT => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}
