//! What calls send and receive, as it stands in the caller's memory: in one piece, or gathered from
//! as many as a list names.

use picket_events::Interest;

use super::{Call, dns, network};
use crate::table::{Abi, looks_at_messages};

/// Most pieces of one message, and messages of one call: `UIO_MAXIOV`. The kernel takes no more.
pub(super) const VECTORS_MAX: u64 = 1024;

/// Part of the caller's memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub(super) at: u64,
    pub(super) length: usize,
}

/// What a message carries.
#[derive(Debug, Clone, Copy)]
pub(super) enum Data {
    Whole(Span),
    /// In the pieces of a list.
    Gathered {
        vectors: u64,
        count: u64,
    },
}

/// `struct msghdr`, as far as it matters.
#[derive(Debug, Clone, Copy)]
pub(super) struct Message {
    /// An address, of a message that has one.
    pub(super) name: Span,
    pub(super) data: Data,
    pub(super) control: Span,
}

/// Little-endian words of the caller's own size.
struct Words<'a> {
    bytes: &'a [u8],
    size: usize,
}

impl Words<'_> {
    /// The word at an index.
    fn get(&self, index: usize) -> u64 {
        let mut word = [0u8; 8];
        let at = index * self.size;
        if let Some(bytes) = self.bytes.get(at..at + self.size) {
            word[..self.size].copy_from_slice(bytes);
        }
        u64::from_le_bytes(word)
    }
}

pub(super) fn message(call: &Call<'_>, at: u64) -> Option<Message> {
    let size = call.abi.pointer_size();
    // Name, its length, vectors, their number, control data, its length; each takes a word (an
    // int is padded to one).
    let mut header = [0u8; 48];
    call.read(at, &mut header[..6 * size]).ok()?;
    let words = Words {
        bytes: &header,
        size,
    };
    let length = words.get(1) as u32 as usize;
    // The kernel takes an address without a length for none.
    let at = if length == 0 { 0 } else { words.get(0) };
    Some(Message {
        name: Span { at, length },
        data: Data::Gathered {
            vectors: words.get(2),
            count: words.get(3),
        },
        control: Span {
            at: words.get(4),
            length: words.get(5) as usize,
        },
    })
}

/// Size of `struct mmsghdr`.
pub(super) fn mmsghdr_size(abi: Abi) -> u64 {
    match abi.pointer_size() {
        8 => 64,
        _ => 32,
    }
}

/// Part of the caller's memory, or the first so many bytes of it.
pub(super) fn read(call: &Call<'_>, span: Span, limit: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0u8; span.length.min(limit)];
    call.read(span.at, &mut bytes).ok()?;
    Some(bytes)
}

/// The first bytes that a call sends.
pub(super) fn bytes(call: &Call<'_>, at: u64, length: u64) -> Option<Vec<u8>> {
    first_bytes(call, at, length, dns::MESSAGE_MAX)
}

/// The first bytes that a call sends, at most so many.
pub(super) fn first_bytes(call: &Call<'_>, at: u64, length: u64, limit: usize) -> Option<Vec<u8>> {
    let length = length as usize;
    read(call, Span { at, length }, limit)
}

/// The first bytes that a message carries, at most so many, of at most so many pieces as are
/// `left` to be read.
pub(super) fn first_bytes_of(
    call: &Call<'_>,
    data: Data,
    limit: usize,
    left: &mut u64,
) -> Option<Vec<u8>> {
    let (vectors, count) = match data {
        Data::Whole(span) => return read(call, span, limit),
        Data::Gathered { vectors, count } => (vectors, count),
    };
    if count > VECTORS_MAX {
        return None; // the kernel refuses it
    }
    let size = call.abi.pointer_size();
    let mut list = vec![0u8; count as usize * 2 * size];
    call.read(vectors, &mut list).ok()?;
    let words = Words { bytes: &list, size };
    let mut all = Vec::new();
    for index in 0..count as usize {
        let (at, length) = (words.get(2 * index), words.get(2 * index + 1) as usize);
        if all.len() == limit {
            break;
        }
        if length == 0 {
            continue;
        }
        *left = left.checked_sub(1)?;
        all.extend(read(call, Span { at, length }, limit - all.len())?);
    }
    Some(all)
}

/// Whether the filter has stopped for a `sendmsg` whose message has an address, so that a question in
/// it was told.
pub(super) fn was_told(call: &Call<'_>, interest: &Interest) -> bool {
    looks_at_messages(interest)
        && message(call, call.address(1)).is_some_and(|message| message.name.at != 0)
}

/// The first bytes that a message sends.
pub(super) fn message_bytes(call: &Call<'_>, at: u64) -> Option<Vec<u8>> {
    let data = message(call, at)?.data;
    first_bytes_of(call, data, dns::MESSAGE_MAX, &mut { VECTORS_MAX })
}

/// What a message that was received brought, up to `length`, and the sender's address where it
/// was asked for.
pub(super) fn received(call: &Call<'_>, at: u64, length: u64) -> Option<(Vec<u8>, Vec<u8>)> {
    let message = message(call, at)?;
    let sender = match message.name.at {
        0 => Vec::new(),
        _ => read(call, message.name, network::ADDRESS_MAX)?,
    };
    let limit = dns::MESSAGE_MAX.min(length as usize);
    let bytes = first_bytes_of(call, message.data, limit, &mut { VECTORS_MAX })?;
    Some((sender, bytes))
}

/// The first bytes that stand in vectors, at most so many.
pub(super) fn gathered(call: &Call<'_>, vectors: u64, count: u64, limit: usize) -> Option<Vec<u8>> {
    let data = Data::Gathered { vectors, count };
    first_bytes_of(call, data, limit, &mut { VECTORS_MAX })
}
