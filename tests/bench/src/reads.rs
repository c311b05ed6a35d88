//! Which ways to read a file the default rules get to see: each program reads one file, traced
//! with what the default rules can use, and the agent's side says whether the open arrived.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use picket_agent::rulefiles::RuleFiles;

use crate::run::{command, find, to_end};

/// Programs, and how they are told to read `FILE`.
const READERS: &[(&str, &str)] = &[
    ("sh", "read line < FILE"),
    ("bash", "bash -c 'x=$(<FILE)'"),
    ("cat", "cat FILE"),
    ("cp", "cp FILE copy"),
    ("head", "head -1 FILE"),
    ("tail", "tail -1 FILE"),
    ("grep", "grep -c x FILE"),
    ("sed", "sed -n 1p FILE"),
    ("awk", "awk 1 FILE"),
    ("dd", "dd if=FILE of=/dev/null"),
    ("base64", "base64 FILE"),
    ("sha256sum", "sha256sum FILE"),
    ("tar", "tar cf archive.tar FILE"),
    ("gzip", "gzip -c FILE"),
    ("curl", "curl -s file://FILE"),
    ("openssl", "openssl enc -base64 -in FILE"),
    ("ssh-keygen", "ssh-keygen -lf FILE || true"),
    ("perl", "perl -pe 1 FILE"),
    ("python3", "/usr/bin/python3 -c 'open(\"FILE\").read()'"),
    ("ruby", "ruby -e 'File.read(\"FILE\")'"),
    ("node", "node -e 'require(\"fs\").readFileSync(\"FILE\")'"),
    ("java", "java @FILE -version || true"),
];

struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn run(tracer: Option<&Path>) -> anyhow::Result<()> {
    let scratch = tempfile::Builder::new().prefix("picket-reads-").tempdir()?;
    let home = scratch.path().canonicalize()?;
    let (socket, file) = (home.join("agent.sock"), home.join("secret"));
    std::fs::write(&file, "x\n")?;
    let own = std::env::current_exe()?;
    let mut reader = Command::new(&own);
    reader
        .args(["reader", "--socket"])
        .arg(&socket)
        .arg("--count")
        .arg(&file);
    let mut reader = Ends(reader.stdout(Stdio::piped()).spawn()?);
    let seen: Arc<AtomicU64> = Arc::default();
    let lines = BufReader::new(reader.0.stdout.take().context("no output")?).lines();
    std::thread::spawn({
        let seen = Arc::clone(&seen);
        move || {
            for line in lines.map_while(Result::ok) {
                let counts: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
                seen.store(counts["opens"].as_u64().unwrap_or(0), Ordering::Relaxed);
            }
        }
    });
    let interest = RuleFiles::default().load().rules.interest().to_string();
    let (mut tried, mut found) = (0, 0);
    for (number, (program, words)) in READERS.iter().enumerate() {
        if find(program).is_none() {
            println!("{program:<12} not installed");
            continue;
        }
        let mut prefix = match tracer {
            Some(tracer) => vec![tracer.as_os_str().to_owned()],
            None => vec![own.clone().into_os_string(), "tracer".into(), "--".into()],
        };
        let flags = [
            "trace",
            "--require-tracing",
            "--interest",
            &interest,
            "--container",
        ];
        prefix.extend(flags.map(Into::into));
        prefix.extend([format!("reads-{number}").into(), "--socket".into()]);
        prefix.extend([socket.clone().into_os_string(), "--".into()]);
        let before = seen.load(Ordering::Relaxed);
        let words = words.replace("FILE", &file.to_string_lossy());
        let mut traced = command(&prefix, &["/bin/sh", "-c", &words]);
        traced.current_dir(&home);
        to_end(traced)?;
        // The tracer has said all when it ends; the counts come ten times a second.
        std::thread::sleep(Duration::from_millis(400));
        let is_seen = seen.load(Ordering::Relaxed) > before;
        tried += 1;
        found += u32::from(is_seen);
        println!(
            "{program:<12} {}",
            if is_seen { "seen" } else { "not seen" }
        );
    }
    println!("{found} of {tried} seen, each with the process that did it");
    Ok(())
}
