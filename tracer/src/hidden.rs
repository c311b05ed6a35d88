//! Takes an argument of our own out of sight.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Where `/proc/PID/stat` tells the bounds of the arguments in memory, counted from the field
/// behind the name (proc_pid_stat(5): fields 48 and 49).
const ARGUMENTS: (usize, usize) = (45, 46);
/// Longest memory of arguments that is looked through, in bytes.
const LONGEST: u64 = 4 << 20;

/// Overwrites an argument that this process was started with, so that `ps` does not show it to
/// others. Where that fails it stays, which is no more than untidy: a token is good for one
/// session, and that is ours by then.
pub(crate) fn hide_argument(argument: &str) {
    let _ = overwrite(argument.as_bytes());
}

fn overwrite(argument: &[u8]) -> io::Result<()> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(')').unwrap_or_default();
    let mut fields = fields.split_whitespace();
    let mut number = |at: usize| fields.nth(at).and_then(|field| field.parse::<u64>().ok());
    let (first, second) = ARGUMENTS;
    let (Some(start), Some(end)) = (number(first), number(second - first - 1)) else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let memory = File::options()
        .read(true)
        .write(true)
        .open("/proc/self/mem")?;
    let mut arguments = vec![0; end.saturating_sub(start).min(LONGEST) as usize];
    memory.read_exact_at(&mut arguments, start)?;
    let mut at = 0;
    for word in arguments.split(|byte| *byte == 0) {
        if word == argument {
            memory.write_all_at(&vec![b'*'; word.len()], start + at)?;
        }
        at += word.len() as u64 + 1;
    }
    Ok(())
}
