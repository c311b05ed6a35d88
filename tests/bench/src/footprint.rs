//! What the tracer takes besides time: size, memory, start and exit.

use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use anyhow::Context;
use serde::Serialize;

use crate::loops::monotonic;
use crate::rounds::Spread;
use crate::run::command;
use crate::variant::{Setup, Variant};

/// Further processes that are started to see what one takes.
const PROCESSES: u32 = 100;
/// How often start and exit are timed in each round.
const EDGES: u32 = 10;

#[derive(Debug, Serialize)]
pub(crate) struct Footprint {
    /// Size of the program, bytes; none when it is built into this one.
    size: Option<u64>,
    /// Memory of keeper and worker, one process traced: resident, and resident with shared
    /// pages counted once (KiB).
    resident: u64,
    proportional: u64,
    /// What each further process adds, KiB.
    per_process: f64,
    /// Time from the start of the tracer to the start of the program, over the untraced one,
    /// seconds.
    start: Spread,
    /// Time from the program's end to the tracer's, over the untraced one, seconds.
    exit: Spread,
}

pub(crate) fn measure(setup: &Setup, rounds: usize) -> anyhow::Result<Footprint> {
    let size = match setup.tracer() {
        Some(tracer) => Some(std::fs::metadata(tracer)?.len()),
        None => None,
    };
    let (resident, proportional) = memory(setup, 1)?;
    let (with_more, _) = memory(setup, 1 + PROCESSES)?;
    let (mut starts, mut exits) = (Vec::new(), Vec::new());
    for _ in 0..rounds.max(1) * setup.effort.of(EDGES) as usize {
        let (start, exit) = edges(setup, Variant::Untraced)?;
        let (traced_start, traced_exit) = edges(setup, Variant::DefaultRules)?;
        starts.push(traced_start - start);
        exits.push(traced_exit - exit);
    }
    Ok(Footprint {
        size,
        resident,
        proportional,
        per_process: (with_more as f64 - resident as f64) / f64::from(PROCESSES),
        start: Spread::of(&starts).context("no rounds")?,
        exit: Spread::of(&exits).context("no rounds")?,
    })
}

/// Seconds from before the start to the program's first look at the clock, and from its last
/// one to its end.
fn edges(setup: &Setup, variant: Variant) -> anyhow::Result<(f64, f64)> {
    let own = setup.own.as_os_str();
    let words = [
        own,
        "loop".as_ref(),
        "stamp".as_ref(),
        "--passes".as_ref(),
        "0".as_ref(),
    ];
    let mut child = command(&setup.prefix(variant), &words);
    child.stdout(Stdio::piped());
    let before = monotonic()?;
    let mut child = child.spawn()?;
    let status = child.wait()?;
    let after = monotonic()?;
    anyhow::ensure!(status.success(), "the program failed: {status}");
    let output = BufReader::new(child.stdout.take().context("no output")?);
    let stamps: Vec<u64> = output
        .lines()
        .map_while(|line| line.ok()?.parse().ok())
        .collect();
    let [started, ended] = stamps[..] else {
        anyhow::bail!("the program did not tell the time");
    };
    let seconds = |from: u64, to: u64| (to as f64 - from as f64) / 1e9;
    Ok((seconds(before, started), seconds(ended, after)))
}

/// Memory of keeper and worker with so many processes traced: resident and proportional, KiB.
fn memory(setup: &Setup, processes: u32) -> anyhow::Result<(u64, u64)> {
    let own = setup.own.as_os_str();
    let count = (processes - 1).to_string();
    let words = [
        own,
        "loop".as_ref(),
        "sleepers".as_ref(),
        "--passes".as_ref(),
        count.as_ref(),
    ];
    let mut child = command(&setup.prefix(Variant::DefaultRules), &words);
    let mut child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut output = BufReader::new(child.stdout.take().context("no output")?);
    let mut line = String::new();
    output.read_line(&mut line)?;
    let keeper = child.id();
    let children = std::fs::read_to_string(format!("/proc/{keeper}/task/{keeper}/children"))?;
    let mut sums = (0, 0);
    for pid in
        std::iter::once(keeper.to_string()).chain(children.split_whitespace().map(str::to_owned))
    {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm"))?;
        if name.trim_end().starts_with("picket-") {
            sums.0 += field(&pid, "Rss:")?;
            sums.1 += field(&pid, "Pss:")?;
        }
    }
    child.stdin.take().context("no input")?.write_all(b"\n")?;
    child.wait()?;
    Ok(sums)
}

fn field(pid: &str, name: &str) -> anyhow::Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))
        .context("reading the tracer's memory takes root")?;
    let line = text.lines().find(|line| line.starts_with(name));
    let number = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    number.with_context(|| format!("no {name}"))
}

impl fmt::Display for Footprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(size) = self.size {
            writeln!(f, "Size of the tracer: {} KiB.", size / 1024)?;
        }
        writeln!(
            f,
            "Memory of keeper and worker, one process traced: {} KiB resident, {} KiB with shared pages counted once; {:.1} KiB more for each further process.",
            self.resident, self.proportional, self.per_process
        )?;
        let milliseconds = |s: &Spread| {
            let Spread { median, min, max } = *s;
            format!("{:.1} ms ({:.1}–{:.1})", median * 1e3, min * 1e3, max * 1e3)
        };
        writeln!(
            f,
            "Added to a program's start: {}; to its exit: {}.",
            milliseconds(&self.start),
            milliseconds(&self.exit)
        )
    }
}
