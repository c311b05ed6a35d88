//! What the tracer was started with and the language runtime changes before `main`: the
//! handling of SIGPIPE, and which of the standard descriptors were closed; and a limit of the stack
//! that is too low for it. The application must get all as they were.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

static PIPE_IGNORED: AtomicBool = AtomicBool::new(false);
static CLOSED: AtomicU32 = AtomicU32::new(0);
static STACK: OnceLock<libc::rlimit> = OnceLock::new();

/// Stack that the tracer's processes need.
const STACK_NEEDED: libc::rlim_t = 256 * 1024;

/// Takes the stack that is needed, where less was left to us. C programs run with much less.
fn take_stack() {
    // SAFETY: getrlimit writes one structure, setrlimit reads one.
    unsafe {
        let mut found: libc::rlimit = std::mem::zeroed();
        if libc::getrlimit(libc::RLIMIT_STACK, &raw mut found) != 0
            || found.rlim_cur >= STACK_NEEDED
        {
            return;
        }
        // The second is raised only by who has CAP_SYS_RESOURCE.
        let maximum = found.rlim_max.max(STACK_NEEDED);
        let wanted = libc::rlimit {
            rlim_cur: STACK_NEEDED,
            rlim_max: maximum,
        };
        if libc::setrlimit(libc::RLIMIT_STACK, &raw const wanted) == 0 {
            let _ = STACK.set(found);
            use_stack();
        }
    }
}

/// Has the stack grow at once: what it has taken it keeps when the limit is given back.
#[inline(never)]
fn use_stack() {
    let room = [0u8; STACK_NEEDED as usize / 2];
    std::hint::black_box(&room);
}

extern "C" fn capture() {
    take_stack();
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
    if let Some(limit) = STACK.get() {
        // SAFETY: the structure is read. What is in use already stays.
        unsafe { libc::setrlimit(libc::RLIMIT_STACK, limit) };
    }
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
