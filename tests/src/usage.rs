//! What a process has used, from `/proc` (proc(5)).

use std::io;

fn malformed(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// User and system time of a process so far, in seconds.
///
/// # Errors
/// When the process is gone.
pub fn cpu_seconds(process: u32) -> io::Result<f64> {
    /// `USER_HZ`, which is 100 on every Linux that there is.
    const HERTZ: f64 = 100.0;
    let text = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    let fields = text
        .rsplit_once(')')
        .map(|(_, rest)| rest.split_whitespace());
    let mut fields = fields.ok_or_else(|| malformed("stat"))?.skip(11);
    let mut ticks = || fields.next().and_then(|field| field.parse::<f64>().ok());
    match (ticks(), ticks()) {
        (Some(user), Some(system)) => Ok((user + system) / HERTZ),
        _ => Err(malformed("stat")),
    }
}

/// The most memory that a process had resident, in MiB.
///
/// # Errors
/// When the process is gone.
pub fn peak_mebibytes(process: u32) -> io::Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kibibytes
        .map(|kibibytes| kibibytes / 1024)
        .ok_or_else(|| malformed("status"))
}
