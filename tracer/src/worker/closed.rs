//! Memory that the kernel reads for its own process and for nobody else: of a device, or of a ring that
//! the kernel shares with a program. What a call names there is not known.

use picket_events::file::FileFault;
use picket_events::{Address, EventKind};

use crate::decode::{Call, Verdict};
use crate::memory::PATH_MAX;
use crate::proc;

const PAGE: usize = 4096;
const READABLE: u32 = 1; // PROT_READ

/// Whether what a call names could not be read although its process can read it, and so can the kernel.
/// Where nothing is mapped, or a file that ends before, the call fails.
pub(super) fn names_what_is_closed(call: &Call<'_>, verdict: &Verdict) -> bool {
    let Verdict::Watch(kind, check) = verdict else {
        return false;
    };
    let is_unreadable = |fault: Option<FileFault>| fault == Some(FileFault::Unreadable);
    let is_unread = match kind {
        EventKind::Connect { address, .. } => *address == Address::Unreadable,
        kind => {
            kind.file().is_some_and(|file| is_unreadable(file.fault))
                || check.place().is_some_and(|at| is_unreadable(at.fault))
        }
    };
    is_unread
        && !call.process.is_hidden
        && !call.process.is_hidden_told
        && (0..call.args.len()).any(|argument| is_closed(call, call.address(argument)))
}

/// Whether a path at this address would run into such memory.
fn is_closed(call: &Call<'_>, address: u64) -> bool {
    let Some(memory) = call.process.memory() else {
        return false;
    };
    let next_page = (address | (PAGE as u64 - 1)).checked_add(1);
    let places = std::iter::once(address).chain(next_page);
    let mut places = places.take(1 + PATH_MAX / PAGE);
    let unread = places.find(|place| memory.read(*place, &mut [0]).is_err());
    let Some(place) = unread else {
        return false;
    };
    let credentials = &call.process.credentials;
    match proc::as_tracee(credentials, || proc::mapping(call.tid, place)) {
        Ok(Some(mapping)) => {
            mapping.protection & READABLE != 0 && !mapping.is_behind_its_file(place)
        }
        _ => false,
    }
}
