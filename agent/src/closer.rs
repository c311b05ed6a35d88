//! Closing what may take long, where nobody waits for it.
//!
//! Whoever reaches one of our sockets can send us descriptors, and closing the last reference to
//! one waits for as long as its maker likes: a connection that lingers, a file of a file system in
//! user space. A thread that serves must therefore never do it, and descriptors that were sent and
//! not received are closed with the socket that they wait in.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::net::{RecvFlags, Shutdown, recv, shutdown};
use tokio::net::UnixStream;
use tokio::runtime::Handle;

/// Closes descriptors in threads that serve nobody.
#[derive(Debug)]
pub(crate) struct Closer {
    runtime: Handle,
    /// To the thread that may be kept waiting; there once it has something to do.
    strange: Mutex<Option<Sender<Vec<OwnedFd>>>>,
    /// What waits for that thread: as many connections have ended.
    waiting: Arc<AtomicUsize>,
}

impl Closer {
    /// Must be called within a tokio runtime.
    pub(crate) fn new() -> Self {
        Self {
            runtime: Handle::current(),
            strange: Mutex::default(),
            waiting: Arc::default(),
        }
    }

    /// How many connections have left something behind that is not closed yet.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Closes what takes a moment, and no longer.
    pub(crate) fn close_soon(&self, descriptors: Vec<OwnedFd>) {
        if !descriptors.is_empty() {
            self.runtime.spawn_blocking(move || drop(descriptors));
        }
    }

    /// Closes what may take any time, one after the other.
    pub(crate) fn close_strange(&self, descriptors: Vec<OwnedFd>) {
        if descriptors.is_empty() {
            return;
        }
        let mut strange = self.strange.lock().unwrap_or_else(PoisonError::into_inner);
        if strange.is_none() {
            match start(&self.waiting) {
                Ok(sender) => *strange = Some(sender),
                Err(error) => tracing::error!(%error, "no thread to close descriptors"),
            }
        }
        if let Some(sender) = &*strange {
            self.waiting.fetch_add(1, Ordering::Relaxed);
            // The thread ends after the sender.
            let _ = sender.send(descriptors);
        }
    }

    /// Ends a connection: its peer sees it at once, and what waits in it unread is closed with it.
    pub(crate) fn end(&self, stream: UnixStream) {
        let Ok(stream) = stream.into_std() else {
            return;
        };
        // From now on nothing more can be sent into it.
        let _ = shutdown(&stream, Shutdown::Both);
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        let is_empty = recv(&stream, &mut [0u8; 1], flags).is_ok_and(|(length, _)| length == 0);
        if !is_empty {
            self.close_strange(vec![stream.into()]);
        }
    }
}

fn start(waiting: &Arc<AtomicUsize>) -> io::Result<Sender<Vec<OwnedFd>>> {
    let (sender, receiver) = channel();
    let waiting = Arc::clone(waiting);
    let thread = std::thread::Builder::new().name("picket-closer".to_owned());
    thread.spawn(move || {
        for descriptors in receiver {
            drop(descriptors);
            waiting.fetch_sub(1, Ordering::Relaxed);
        }
    })?;
    Ok(sender)
}
