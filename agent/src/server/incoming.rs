//! What comes over a connection: bytes, and descriptors with them.
//!
//! A tracer hands over the inotify instances that it watches files with. Nothing is read from
//! them here; they are held until the connection has ended, so that ours is the last reference.
//! Whoever closes the last one waits until the kernel is done with the watches, some 15 ms: the
//! tracer would, and its container's end with it. Everything else is refused.
//!
//! Bytes stay in the socket until what they tell is evaluated. So what an agent that is killed has
//! not evaluated is unread, and the tracer counts it.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::cmsg_space;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use crate::closer::Closer;
use crate::pipeline::Violation;

/// Bytes read at a time; with one incomplete frame, all that a connection holds.
const BUFFER: usize = 64 * 1024;
/// Inotify instances that a tracer has at most: for directories, and for files that rules are about.
const HELD_MAX: usize = 2;
/// Most descriptors of a message (`SCM_MAX_FD`). All that come are received: what there was no room
/// for, the kernel would close in our thread.
const SENT_MAX: usize = 253;

/// What a read has given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Came {
    /// So many bytes, at the beginning of [`Incoming::bytes`]. They are to be [`Incoming::dealt_with`].
    Bytes(usize),
    /// Nothing more comes.
    End,
    /// Descriptors that no tracer hands over.
    Strange,
}

/// The reading half of a connection.
#[derive(Debug)]
pub(super) struct Incoming<'a> {
    closer: &'a Closer,
    reader: OwnedReadHalf,
    buffer: Vec<u8>,
    held: Vec<OwnedFd>,
}

impl<'a> Incoming<'a> {
    pub(super) fn new(closer: &'a Closer, reader: OwnedReadHalf) -> Self {
        Self {
            closer,
            reader,
            buffer: vec![0; BUFFER],
            held: Vec::new(),
        }
    }

    /// What came last.
    pub(super) fn bytes(&self, length: usize) -> &[u8] {
        &self.buffer[..length]
    }

    /// Waits for what comes next, and leaves it where it is.
    pub(super) async fn read(&mut self) -> Came {
        let stream: &UnixStream = self.reader.as_ref();
        let buffer = &mut self.buffer;
        let peek = || receive(stream, buffer, RecvFlags::PEEK);
        let Ok((length, descriptors)) = stream.async_io(Interest::READABLE, peek).await else {
            return Came::End;
        };
        if !self.are_ours(&descriptors) {
            self.closer.close_strange(descriptors);
            return Came::Strange;
        }
        // The socket has them as well, so closing these waits for nobody.
        drop(descriptors);
        match length {
            0 => Came::End,
            length => Came::Bytes(length),
        }
    }

    /// Takes the bytes that came last out of the socket, and the descriptors that came with them.
    ///
    /// # Errors
    /// Where they were sent in such a way that they can be seen and not taken.
    pub(super) fn dealt_with(&mut self, mut length: usize) -> Result<(), Violation> {
        let stream: &UnixStream = self.reader.as_ref();
        while length > 0 {
            let taken = receive(stream, &mut self.buffer[..length], RecvFlags::empty());
            let Ok((taken @ 1.., descriptors)) = taken else {
                return Err(Violation::Malformed);
            };
            length -= taken;
            // Those that we had no numbers left for when we looked at them show only now.
            if !self.are_ours(&descriptors) {
                self.closer.close_strange(descriptors);
                return Err(Violation::Descriptors);
            }
            self.held.extend(descriptors);
        }
        Ok(())
    }

    /// Whether a tracer may hand these over, besides those that it has.
    fn are_ours(&self, descriptors: &[OwnedFd]) -> bool {
        self.held.len() + descriptors.len() <= HELD_MAX
            && descriptors
                .iter()
                .all(|descriptor| is_inotify(descriptor.as_fd()))
    }

    /// Ends the connection.
    pub(super) fn end(self, writer: Option<OwnedWriteHalf>) {
        let Self {
            closer,
            reader,
            held,
            ..
        } = self;
        if let Some(Ok(stream)) = writer.map(|writer| reader.reunite(writer)) {
            closer.end(stream);
        }
        closer.close_soon(held);
    }
}

/// Reads without waiting.
fn receive(
    stream: &UnixStream,
    buffer: &mut [u8],
    flags: RecvFlags,
) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(SENT_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [IoSliceMut::new(buffer)];
    let flags = flags | RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    // Where we may have no more descriptors, some are missing: they were to be held, no more.
    let received = recvmsg(stream, &mut bytes, &mut control, flags)?;
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    Ok((received.bytes, descriptors))
}

/// Whether closing this one can wait for nobody but the kernel.
fn is_inotify(descriptor: BorrowedFd<'_>) -> bool {
    // No path looks like this: each begins with a slash.
    let link = std::fs::read_link(format!("/proc/self/fd/{}", descriptor.as_raw_fd()));
    link.is_ok_and(|link| link.as_os_str() == "anon_inode:inotify")
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn what_is_not_dealt_with_is_unread_for_the_one_who_sent_it() {
        let closer = Closer::new();
        for is_dealt_with in [false, true] {
            let (mut tracer, stream) = UnixStream::pair().unwrap();
            let (reader, writer) = stream.into_split();
            let mut incoming = Incoming::new(&closer, reader);
            tracer.write_all(b"some").await.unwrap();
            assert_eq!(incoming.read().await, Came::Bytes(4));
            assert_eq!(incoming.bytes(4), b"some");
            if is_dealt_with {
                incoming.dealt_with(4).unwrap();
                tracer.write_all(b"more").await.unwrap();
                assert_eq!(incoming.read().await, Came::Bytes(4));
                assert_eq!(incoming.bytes(4), b"more");
                incoming.dealt_with(4).unwrap();
            }
            // As the kernel ends it for an agent that is killed.
            drop((incoming, writer));
            let end = tracer.read(&mut [0]).await;
            match is_dealt_with {
                true => assert_eq!(end.unwrap(), 0),
                false => assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset),
            }
        }
    }
}
