//! Reading another process's memory without opening it.

use super::{Result, check};

/// Reads from an address of a thread on, as far as there is something; gives how much.
///
/// # Errors
/// `EPERM` also where a sandbox refuses the call itself, `ENOSYS` where it or the kernel does not
/// know it.
pub(crate) fn read_of(tid: u32, buffer: &mut [u8], address: u64) -> Result<usize> {
    let here = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    let there = libc::iovec {
        iov_base: address as *mut libc::c_void,
        iov_len: buffer.len(),
    };
    // SAFETY: the kernel writes at most the buffer's length to it; the other address is looked
    // up in the other process only.
    let got = check(unsafe {
        libc::process_vm_readv(tid as i32, &raw const here, 1, &raw const there, 1, 0) as _
    })?;
    Ok(got as usize)
}

/// Pieces read at once, at most.
pub(crate) const PIECES_MAX: usize = 64;

/// Reads pieces of a thread's memory, each `(address, length)`, one after the other into the
/// buffer; gives how much that makes. The first piece that is not there ends it. Pieces beyond
/// [`PIECES_MAX`], and what does not fit the buffer, are left out.
///
/// # Errors
/// As [`read_of`].
pub(crate) fn read_pieces(
    tid: u32,
    buffer: &mut [u8],
    pieces: impl Iterator<Item = (u64, usize)>,
) -> Result<usize> {
    let nothing = libc::iovec {
        iov_base: std::ptr::null_mut(),
        iov_len: 0,
    };
    let mut there = [nothing; PIECES_MAX];
    let (mut count, mut room) = (0, buffer.len());
    for ((address, length), piece) in pieces.zip(&mut there) {
        *piece = libc::iovec {
            iov_base: address as *mut libc::c_void,
            iov_len: length.min(room),
        };
        room -= piece.iov_len;
        count += 1;
    }
    let here = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len() - room,
    };
    // SAFETY: the kernel writes at most as much to the buffer as `here` says, which is within it;
    // the other addresses are looked up in the other process only.
    let got = check(unsafe {
        let list = there.as_ptr();
        libc::process_vm_readv(tid as i32, &raw const here, 1, list, count, 0) as _
    })?;
    Ok(got as usize)
}
