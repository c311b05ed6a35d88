//! Whose rights this process has, and taking on a tracee's for a moment.

use crate::sys::{Result, check};

/// Effective user and group of this process.
pub(crate) fn effective_ids() -> (u32, u32) {
    // SAFETY: always succeed.
    unsafe { (libc::geteuid(), libc::getegid()) }
}

/// Real user and group of this process.
pub(crate) fn real_ids() -> (u32, u32) {
    // SAFETY: always succeed.
    unsafe { (libc::getuid(), libc::getgid()) }
}

/// Runs `work` with the file system ids of a tracee, so that its `/proc` entries open for us
/// where the ordinary right (CAP_SYS_PTRACE) is missing.
pub(crate) fn with_file_system_ids<T>(uid: u32, gid: u32, work: impl FnOnce() -> T) -> T {
    // SAFETY: both calls take plain values, never fail, and give the id that was before. They
    // work on the calling thread, which is the only one.
    let (old_gid, old_uid) = unsafe {
        (
            libc::syscall(libc::SYS_setfsgid, gid),
            libc::syscall(libc::SYS_setfsuid, uid),
        )
    };
    let result = work();
    // SAFETY: as above.
    unsafe {
        libc::syscall(libc::SYS_setfsuid, old_uid);
        libc::syscall(libc::SYS_setfsgid, old_gid);
    }
    result
}

/// Runs `work` with the real ids of a tracee: by these the kernel judges who may attach to it and take
/// its descriptors (`PTRACE_MODE_REALCREDS`), where CAP_SYS_PTRACE is missing. Takes CAP_SETUID
/// and CAP_SETGID; fails with EPERM without them.
pub(crate) fn with_real_ids<T>(uid: u32, gid: u32, work: impl FnOnce() -> T) -> Result<T> {
    const SAME: u32 = u32::MAX;
    let set_user = |uid: u32| {
        // SAFETY: takes plain values, and works on the calling thread. The effective ids, which the
        // thread's rights go by, stay.
        check(unsafe { libc::syscall(libc::SYS_setresuid, uid, SAME, SAME) })
    };
    let set_group = |gid: u32| {
        // SAFETY: as above.
        check(unsafe { libc::syscall(libc::SYS_setresgid, gid, SAME, SAME) })
    };
    let (old_uid, old_gid) = real_ids();
    set_group(gid)?;
    let result = set_user(uid).map(|_| work());
    // They are among what the thread may have in any case: its effective ids.
    let _ = set_user(old_uid);
    let _ = set_group(old_gid);
    result
}

/// Capabilities of a process, bit n for capability n: effective and permitted ones.
pub(crate) fn capabilities(pid: u32) -> Result<(u64, u64)> {
    /// `_LINUX_CAPABILITY_VERSION_3`: two words for each set.
    const VERSION: u32 = 0x2008_0522;
    let mut header = [VERSION, pid];
    // Effective, permitted, inheritable: low words, then high words.
    let mut sets = [0u32; 6];
    // SAFETY: the kernel may write the version it prefers to the header, and writes six words to
    // the sets.
    let result = unsafe { libc::syscall(libc::SYS_capget, header.as_mut_ptr(), sets.as_mut_ptr()) };
    check(result)?;
    let set = |at: usize| u64::from(sets[at]) | u64::from(sets[at + 3]) << 32;
    Ok((set(0), set(1)))
}
