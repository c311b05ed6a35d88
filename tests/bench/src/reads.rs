//! Which ways to read a file the default rules get to see: each program reads one file,
//! which a rule is about, traced with what the default rules can use; the agent's side says whether
//! the opens arrived, and whether it is known who made them.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context;
use picket_agent::rulefiles::RuleFiles;

use crate::run::{command, find, from_anywhere, to_end};

/// Programs (the first word), and how they are told to read `FILE`, alone in `FOLDER`.
const READERS: &[(&str, &str)] = &[
    ("sh", "read line < FILE"),
    ("bash", "bash -c 'x=$(<FILE)'"),
    ("cat", "cat FILE"),
    ("cp", "cp FILE copy"),
    ("head", "head -1 FILE"),
    ("tail", "tail -1 FILE"),
    ("tac", "tac FILE"),
    ("sort", "sort FILE"),
    ("grep", "grep -c x FILE"),
    ("grep, named by a link", "grep -c x FOLDER/link"),
    ("grep -r", "grep -r x FOLDER"),
    ("gcc -E", "gcc -E -x c FILE"),
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

/// What is tried.
#[derive(clap::Args)]
pub(crate) struct Reads {
    /// Programs to try; all when none is named.
    programs: Vec<String>,
    /// How often each reads the file.
    #[arg(long, default_value_t = 20)]
    passes: u64,
    /// The tracer; without it the one that is built into this program.
    #[arg(long, value_name = "PROGRAM")]
    tracer: Option<PathBuf>,
}

/// What the reader counts.
#[derive(Debug, Clone, Copy, Default, serde::Deserialize)]
struct Counts {
    opens: u64,
    unattributed: u64,
}

struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn run(what: &Reads) -> anyhow::Result<()> {
    let passes = what.passes;
    let scratch = tempfile::Builder::new().prefix("picket-reads-").tempdir()?;
    let home = scratch.path().canonicalize()?;
    let (socket, folder) = (home.join("agent.sock"), home.join("secrets"));
    let file = folder.join("secret");
    std::fs::create_dir(&folder)?;
    std::fs::write(&file, "x\n")?;
    std::os::unix::fs::symlink("secret", folder.join("link"))?;
    let own = std::env::current_exe()?;
    // What is tried runs elsewhere.
    let tracer = what.tracer.as_deref().map(from_anywhere).transpose()?;
    let mut reader = Command::new(&own);
    reader
        .args(["reader", "--socket"])
        .arg(&socket)
        .arg("--count")
        .arg(&file);
    let mut reader = Ends(reader.stdout(Stdio::piped()).spawn()?);
    let counts: Arc<Mutex<Counts>> = Arc::default();
    let lines = BufReader::new(reader.0.stdout.take().context("no output")?).lines();
    std::thread::spawn({
        let counts = Arc::clone(&counts);
        move || {
            for line in lines.map_while(Result::ok) {
                if let (Ok(line), Ok(mut counts)) = (serde_json::from_str(&line), counts.lock()) {
                    *counts = line;
                }
            }
        }
    });
    let now = || counts.lock().map(|counts| *counts).unwrap_or_default();
    let interest = RuleFiles::default().load().rules.interest().to_string();
    let (mut tried, mut found, mut all) = (0, 0, Counts::default());
    for (number, (program, words)) in READERS.iter().enumerate() {
        if !what.programs.is_empty() && !what.programs.iter().any(|wanted| wanted == program) {
            continue;
        }
        let executable = program.split([' ', ',']).next().unwrap_or_default();
        if find(executable).is_none() {
            println!("{program:<21} not installed");
            continue;
        }
        let mut prefix = match &tracer {
            Some(tracer) => vec![tracer.clone().into_os_string()],
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
        let before = now();
        let words = words
            .replace("FILE", &file.to_string_lossy())
            .replace("FOLDER", &folder.to_string_lossy());
        // The agent says which files to watch when it has greeted the tracer.
        let script =
            format!("sleep 0.5; for i in $(seq {passes}); do {words}; sleep 0.02; done; true");
        let mut traced = command(&prefix, &["/bin/sh", "-c", &script]);
        traced.current_dir(&home);
        to_end(traced)?;
        // The tracer has said all when it ends; the counts come ten times a second.
        std::thread::sleep(Duration::from_millis(400));
        let after = now();
        let told = after.opens - before.opens;
        let unattributed = after.unattributed - before.unattributed;
        tried += 1;
        found += u32::from(told >= passes);
        all.opens += told;
        all.unattributed += unattributed;
        println!("{program:<21} {told:>4} told of {passes}, {unattributed:>4} of them of nobody");
    }
    println!(
        "{found} of {tried} programs seen each time; {} of {} reads told with the process",
        all.opens - all.unattributed,
        all.opens
    );
    Ok(())
}
