//! Sockets: a connection to the agent that never blocks, and what a tracee's socket is.

use std::ffi::CStr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use super::{Errno, Result, check};

/// Connects to a Unix stream socket without waiting; the stream is non-blocking.
pub(crate) fn connect(path: &CStr) -> Result<UnixStream> {
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: plain values.
    let fd = check(unsafe { libc::socket(libc::AF_UNIX, kind, 0) }.into())?;
    // SAFETY: the kernel has just made this descriptor for us.
    let fd = unsafe { OwnedFd::from_raw_fd(fd as i32) };
    // SAFETY: sockaddr_un is plain data.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = libc::AF_UNIX as u16;
    let bytes = path.to_bytes_with_nul();
    if bytes.len() > address.sun_path.len() {
        return Err(Errno(libc::ENAMETOOLONG));
    }
    for (to, from) in address.sun_path.iter_mut().zip(bytes) {
        *to = *from as libc::c_char;
    }
    let length = size_of::<libc::sockaddr_un>() as u32;
    // SAFETY: the address lives during the call and has this length.
    let result = unsafe { libc::connect(fd.as_raw_fd(), (&raw const address).cast(), length) };
    check(result.into())?;
    Ok(UnixStream::from(fd))
}

/// Descriptors that [`send_with`] can send at a time.
const SENT_MAX: usize = 2;

/// Writes to a Unix stream socket and has its reader get copies of these descriptors, at most
/// [`SENT_MAX`], with the first byte. Gives the number of bytes.
pub(crate) fn send_with(
    stream: &UnixStream,
    bytes: &[u8],
    descriptors: &[OwnedFd],
) -> Result<usize> {
    let descriptors = &descriptors[..descriptors.len().min(SENT_MAX)];
    // Of u64, so that it is aligned like a cmsghdr.
    let mut control = [0u64; 4];
    let length = size_of_val(descriptors) as u32;
    let mut part = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    // SAFETY: msghdr is plain data.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    // SAFETY: CMSG_SPACE computes with its argument only. For two descriptors it is 24: the header
    // and they fit into `control`, whose length msg_controllen is, and are written within it.
    unsafe {
        message.msg_controllen = libc::CMSG_SPACE(length) as _;
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(length) as _;
        let mut place = libc::CMSG_DATA(header).cast::<i32>();
        for descriptor in descriptors {
            place.write_unaligned(descriptor.as_raw_fd());
            place = place.add(1);
        }
    }
    let socket = stream.as_fd().as_raw_fd();
    // SAFETY: what the message points to lives during the call.
    let sent = unsafe { libc::sendmsg(socket, &raw const message, libc::MSG_NOSIGNAL) };
    Ok(check(sent as _)? as usize)
}

/// How much the kernel holds of what was written to a Unix socket and not read yet, in bytes, its own
/// bookkeeping for it included.
pub(crate) fn unread_of(socket: BorrowedFd<'_>) -> Result<usize> {
    let mut bytes: i32 = 0;
    // SAFETY: the kernel writes an int (SIOCOUTQ, which has the number of TIOCOUTQ).
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ as _, &raw mut bytes) };
    check(result.into())?;
    Ok(usize::try_from(bytes).unwrap_or(0))
}

/// A socket option that is an int.
pub(crate) fn option(socket: BorrowedFd<'_>, name: i32) -> Result<i32> {
    let mut value = 0;
    // SAFETY: any bytes are an int.
    unsafe { get(socket, name, &mut value) }?;
    Ok(value)
}

/// Asks for a socket option.
///
/// # Safety
/// Any bytes are a value of the type.
unsafe fn get<T>(socket: BorrowedFd<'_>, name: i32, value: &mut T) -> Result<()> {
    let mut length = size_of::<T>() as u32;
    // SAFETY: the kernel writes at most `length` bytes, and says the caller, any will do.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            name,
            std::ptr::from_mut(value).cast(),
            &raw mut length,
        )
    };
    check(result.into()).map(drop)
}

/// The kernel's number of a socket, which no other socket ever has.
pub(crate) fn cookie(socket: BorrowedFd<'_>) -> Result<u64> {
    let mut value = 0;
    // SAFETY: any bytes are a number.
    unsafe { get(socket, libc::SO_COOKIE, &mut value) }?;
    Ok(value)
}

/// Whether calls on a socket return at once instead of sleeping.
pub(crate) fn is_nonblocking(socket: BorrowedFd<'_>) -> Result<bool> {
    // SAFETY: plain values.
    let flags = check(unsafe { libc::fcntl(socket.as_raw_fd(), libc::F_GETFL) }.into())?;
    Ok(flags as i32 & libc::O_NONBLOCK != 0)
}

/// Whether a socket has a time limit for sending, which is one for connecting too.
pub(crate) fn has_send_limit(socket: BorrowedFd<'_>) -> Result<bool> {
    let mut limit = libc::timeval {
        tv_sec: 0,
        tv_usec: 0,
    };
    // SAFETY: any bytes are a timeval.
    unsafe { get(socket, libc::SO_SNDTIMEO, &mut limit) }?;
    Ok((limit.tv_sec, limit.tv_usec) != (0, 0))
}

/// Which end of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Local,
    Peer,
}

/// The raw address of one end (`struct sockaddr` and its length).
pub(crate) fn address(socket: BorrowedFd<'_>, end: End) -> Result<Vec<u8>> {
    let mut buffer = vec![0u8; 128];
    let mut length = buffer.len() as u32;
    let call = if end == End::Local {
        libc::getsockname
    } else {
        libc::getpeername
    };
    // SAFETY: the kernel writes at most `length` bytes.
    let result = unsafe {
        call(
            socket.as_raw_fd(),
            buffer.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    check(result.into())?;
    buffer.truncate(length as usize);
    Ok(buffer)
}

/// Looks at the datagram that comes next, and leaves it there. Gives its length, at most the
/// buffer's, and the sender's raw address. Never waits.
pub(crate) fn peek(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<(usize, Vec<u8>)> {
    let mut from = vec![0u8; 128];
    let mut length = from.len() as u32;
    // SAFETY: the kernel writes at most the buffer's length, and `length` bytes of address.
    let got = check(unsafe {
        libc::recvfrom(
            socket.as_raw_fd(),
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            libc::MSG_PEEK | libc::MSG_DONTWAIT,
            from.as_mut_ptr().cast(),
            &raw mut length,
        ) as _
    })?;
    from.truncate(length as usize);
    Ok((got as usize, from))
}

/// An address with a port from a raw IPv4 or IPv6 socket address.
pub(crate) fn ip_of(raw: &[u8]) -> Option<(IpAddr, u16)> {
    let family = i32::from(u16::from_ne_bytes(raw.get(..2)?.try_into().ok()?));
    let port = u16::from_be_bytes(raw.get(2..4)?.try_into().ok()?);
    let ip = match family {
        libc::AF_INET => {
            let octets: [u8; 4] = raw.get(4..8)?.try_into().ok()?;
            IpAddr::V4(Ipv4Addr::from(octets))
        }
        libc::AF_INET6 => {
            let octets: [u8; 16] = raw.get(8..24)?.try_into().ok()?;
            IpAddr::V6(Ipv6Addr::from(octets))
        }
        _ => return None,
    };
    Some((ip, port))
}
