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
