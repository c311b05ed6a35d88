//! What the fuzz targets of `tracer/fuzz` need of the tracer's insides: whatever reads what a traced
//! program chooses. None of it may panic: that costs the worker, and twenty workers in a row the
//! tracing for a while.

use std::cell::RefCell;
use std::fs::File;

use crate::confirm::{Pending, Settled};
use crate::decode::{self, Call, Own, Verdict};
use crate::looks::Looks;
use crate::mounts::{self, Mounts};
use crate::processes::{self, Processes};
use crate::sys::shared::Board;
use crate::sys::{poll, process};
use crate::table::{Abi, rows};
use crate::{elf, image, proc, scrub};

/// Bytes in one of the forms that are read: `form` says which.
///
/// # Panics
/// When something was read that cannot be.
pub fn bytes(form: u8, bytes: &[u8]) {
    match form % 9 {
        0 => {
            if let Some(dns) = decode::dns::decode(bytes) {
                assert!(dns.answers.len() <= 32 && dns.name.len() <= 4 * 255);
            }
        }
        1 => {
            if let Some(request) = decode::metadata::decode(bytes) {
                assert!(!request.url.contains('?'));
                decode::metadata::is_named(&request.host);
            }
        }
        2 => {
            for word in [4, 8] {
                let found = decode::rights::descriptors(bytes, word);
                assert!(found.len() * 4 <= bytes.len());
            }
        }
        3 => drop(proc::parse_stat(bytes)),
        4 => drop(proc::parse_status(bytes)),
        5 => drop(mounts::on_top_in(bytes, "/a b")),
        6 => drop(proc::mapping_in(bytes, 0x2000)),
        7 => drop(decode::network::plain_address(bytes)),
        _ => strings(bytes),
    }
}

/// Arguments or environment, a zero byte behind each.
fn strings(bytes: &[u8]) {
    let (told, _) = image::scrubbed_arguments(bytes);
    let mut again = told.clone();
    scrub::arguments(&mut again);
    assert_eq!(told, again, "what is masked stays as it is");
    let (told, _) = image::scrubbed_environment(bytes);
    let shown = |entry: &&String| entry.contains('=');
    for entry in told.iter().filter(shown) {
        assert_eq!(scrub::environment(entry.as_bytes()), entry.as_bytes());
    }
}

/// A program's file.
pub fn program(file: &File) {
    elf::is_go(file);
}

/// How many calls the table has.
#[must_use]
pub fn calls() -> usize {
    rows().count()
}

/// A call of this very process, with arguments that may point to its memory: what is meant by it, and
/// what a look after it tells.
pub fn call(row: usize, abi: usize, args: [u64; 6]) {
    thread_local!(static TRACEE: RefCell<Tracee> = RefCell::new(Tracee::new()));
    TRACEE.with_borrow_mut(|tracee| tracee.calls(row, abi, args));
}

/// What a worker knows of a process.
struct Tracee {
    processes: Processes,
    mounts: Mounts,
    looks: Looks,
    own: Own,
}

impl Tracee {
    /// # Panics
    /// Where `/proc` does not show this process.
    fn new() -> Self {
        const NOBODY: u32 = u32::MAX >> 1;
        let board = Board::map().expect("memory");
        let tracers = [NOBODY; 3];
        let mut processes = Processes::new(tracers, processes::boot_time(), &board.cautions);
        let pid = process::own_pid();
        let mut added = Vec::new();
        processes.add(pid, None, &mut added).expect("this process");
        processes.open_memory(pid, pid);
        Self {
            processes,
            mounts: Mounts::new(),
            looks: Looks::new(),
            own: Own {
                keeper: NOBODY,
                worker: NOBODY,
                spare: NOBODY,
                socket: b"/picket/run/agent.sock".to_vec(),
                socket_file: None,
            },
        }
    }

    fn calls(&mut self, row: usize, abi: usize, args: [u64; 6]) {
        let Some(row) = rows().nth(row % calls()) else {
            return;
        };
        let pid = process::own_pid();
        let Some(entry) = self.processes.get(pid) else {
            return;
        };
        let call = Call {
            name: row.name,
            abi: Abi::NATIVE[abi % Abi::NATIVE.len()],
            args,
            tid: pid,
            process: entry,
            mounts: &self.mounts,
            own: &self.own,
        };
        let Verdict::Watch(kind, check) = (row.decode)(&call) else {
            return;
        };
        let mut pending = Pending {
            pid,
            tid: pid,
            time: poll::now(),
            kind,
            check,
            looks: 0,
            since: poll::monotonic_ms(),
            owed: None,
        };
        let view = entry.view(pid);
        for returned in [false, true] {
            let settled = pending.settle(&view, None, &self.mounts, &mut self.looks, returned);
            assert!(
                !returned || !matches!(settled, Settled::Wait),
                "{row:?}",
                row = row.name
            );
        }
    }
}
