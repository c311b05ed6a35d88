//! Ids, capabilities, limits.

use picket_events::EventKind;

use super::spaces::{self, Id};
use super::{Call, Verdict};
use crate::confirm::Check;

pub(crate) fn set_uid(_: &Call<'_>) -> Verdict {
    Verdict::Watch(EventKind::SetUid(Box::default()), Check::Ids)
}

pub(crate) fn set_gid(_: &Call<'_>) -> Verdict {
    Verdict::Watch(EventKind::SetGid(Box::default()), Check::Ids)
}

pub(crate) fn capset(call: &Call<'_>) -> Verdict {
    // Two or one times effective, permitted, inheritable, each 32 bits, by version.
    const VERSION_1: u32 = 0x1998_0330;
    let mut header = [0u8; 4];
    let mut data = [0u8; 24];
    let is_short =
        call.read(call.address(0), &mut header).is_ok() && u32::from_ne_bytes(header) == VERSION_1;
    let size = if is_short { 12 } else { 24 };
    if call.read(call.address(1), &mut data[..size]).is_err() {
        return Verdict::Watch(
            EventKind::Capset {
                effective: 0,
                permitted: 0,
            },
            Check::Nothing,
        );
    }
    let word = |index: usize| {
        let mut bytes = [0u8; 4];
        bytes.copy_from_slice(&data[index * 4..index * 4 + 4]);
        u64::from(u32::from_ne_bytes(bytes))
    };
    let kind = EventKind::Capset {
        effective: word(0) | word(3) << 32,
        permitted: word(1) | word(4) << 32,
    };
    Verdict::Watch(kind, Check::Nothing)
}

fn limit(call: &Call<'_>, address: u64, width: usize) -> Option<[u64; 2]> {
    let mut bytes = [0u8; 16];
    call.read(address, &mut bytes[..2 * width]).ok()?;
    let value = |at: usize| {
        let mut word = [0u8; 8];
        word[..width].copy_from_slice(&bytes[at * width..(at + 1) * width]);
        u64::from_le_bytes(word)
    };
    Some([value(0), value(1)])
}

pub(crate) fn setrlimit(call: &Call<'_>) -> Verdict {
    let [current, maximum] =
        limit(call, call.address(1), call.abi.register_size()).unwrap_or_default();
    let kind = EventKind::SetRlimit {
        resource: call.word(0),
        current,
        maximum,
        target: call.process.pid,
    };
    Verdict::Watch(kind, Check::Nothing)
}

pub(crate) fn prlimit(call: &Call<'_>) -> Verdict {
    if call.address(2) == 0 {
        return Verdict::Pass;
    }
    let target = match call.word(0) {
        0 => 0,
        number => spaces::here(call, Id::Process, number),
    };
    if call.own.is(target) {
        return Verdict::tampering();
    }
    let [current, maximum] = limit(call, call.address(2), 8).unwrap_or_default();
    let target = if call.word(0) == 0 {
        call.process.pid
    } else {
        target
    };
    let kind = EventKind::SetRlimit {
        resource: call.word(1),
        current,
        maximum,
        target,
    };
    Verdict::Watch(kind, Check::Nothing)
}
