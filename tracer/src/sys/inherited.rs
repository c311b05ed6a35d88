//! What the tracer was started with and the language runtime changes before `main`: the
//! handling of SIGPIPE, and which of the standard descriptors were closed. The application
//! must get both as they were.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

static PIPE_IGNORED: AtomicBool = AtomicBool::new(false);
static CLOSED: AtomicU32 = AtomicU32::new(0);

extern "C" fn capture() {
    // SAFETY: sigaction only reads here, into zeroed plain data; fcntl takes plain values.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(libc::SIGPIPE, std::ptr::null(), &raw mut action);
        PIPE_IGNORED.store(action.sa_sigaction == libc::SIG_IGN, Ordering::Relaxed);
        for fd in 0..3 {
            let number = libc::fcntl(fd, libc::F_GETFD);
            // A sandbox that refuses the question says nothing of the descriptor.
            if number == -1 && super::last() == super::Errno(libc::EBADF) {
                CLOSED.fetch_or(1 << fd, Ordering::Relaxed);
            }
        }
    }
}

// SAFETY: the section holds pointers to functions without arguments that the C runtime calls
// once, before `main` and before the language's own start-up.
#[used]
#[unsafe(link_section = ".init_array")]
static CAPTURE: extern "C" fn() = capture;

/// Restores what the language runtime changed. To be called in the application's process
/// just before its first exec.
pub(crate) fn restore() {
    if PIPE_IGNORED.load(Ordering::Relaxed) {
        super::signals::set_ignored(libc::SIGPIPE);
    } else {
        super::signals::set_default(libc::SIGPIPE);
    }
    for fd in 0..3 {
        if CLOSED.load(Ordering::Relaxed) & (1 << fd) != 0 {
            // SAFETY: the descriptor was opened on /dev/null by the runtime; nobody owns it.
            unsafe { libc::close(fd) };
        }
    }
}
