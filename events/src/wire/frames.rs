//! How messages are framed.

use std::marker::PhantomData;

use postcard::ser_flavors::Flavor;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::MAX_FRAME;

/// What can be wrong with bytes on the wire, or with a message that should go there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The length in front of a frame is over the limit.
    #[error("frame of {0} bytes is over the limit of {MAX_FRAME}")]
    FrameTooLarge(usize),
    /// A frame holds no message.
    #[error("frame is empty")]
    EmptyFrame,
    /// An environment is larger than any that is told.
    #[error(
        "environment is over the limit of {} bytes",
        super::environments::MAX_ENVIRONMENT
    )]
    EnvironmentTooLarge,
    /// A message could not be decoded.
    #[error("malformed message")]
    Malformed,
    /// A message could not be encoded, or is over the limit by itself.
    #[error("message is over the limit of {MAX_FRAME} bytes")]
    MessageTooLarge,
}

/// Collects messages into frames.
#[derive(Debug, Default)]
pub struct FrameWriter {
    buffer: Vec<u8>,
    /// Where the open frame's length stands, if one is open.
    open_frame: Option<usize>,
}

impl FrameWriter {
    /// An empty writer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a message, starting a new frame where the open one would grow over the limit.
    ///
    /// # Errors
    /// [`WireError::MessageTooLarge`] when the message does not fit a frame of its own;
    /// nothing is appended then.
    pub fn push<M: Serialize>(&mut self, message: &M) -> Result<(), WireError> {
        let frame = match self.open_frame {
            Some(frame) => frame,
            None => self.start_frame(),
        };
        let before = self.buffer.len();
        let appended = postcard::serialize_with_flavor(message, Appender(&mut self.buffer));
        let Ok(after) = appended else {
            self.rewind(frame, before);
            return Err(WireError::MessageTooLarge);
        };
        let (message_length, frame_length) = (after - before, after - frame - 4);
        if message_length > MAX_FRAME {
            self.rewind(frame, before);
            return Err(WireError::MessageTooLarge);
        }
        if frame_length > MAX_FRAME {
            // Move the message into a frame of its own: four bytes for its length go in front.
            self.buffer.splice(before..before, [0; 4]);
            self.open_frame = Some(before);
            self.write_length(before);
        } else {
            self.write_length(frame);
        }
        Ok(())
    }

    /// Bytes that wait to be taken.
    pub fn len(&self) -> usize {
        self.buffer.len()
    }

    /// True when nothing waits.
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Takes all complete frames.
    pub fn take(&mut self) -> Vec<u8> {
        self.open_frame = None;
        std::mem::take(&mut self.buffer)
    }

    fn start_frame(&mut self) -> usize {
        let frame = self.buffer.len();
        self.buffer.extend_from_slice(&[0; 4]);
        self.open_frame = Some(frame);
        frame
    }

    fn rewind(&mut self, frame: usize, length: usize) {
        self.buffer.truncate(length);
        if length == frame + 4 {
            self.buffer.truncate(frame);
            self.open_frame = None;
        }
    }

    fn write_length(&mut self, frame: usize) {
        let length = (self.buffer.len() - frame - 4) as u32;
        self.buffer[frame..frame + 4].copy_from_slice(&length.to_le_bytes());
    }
}

/// Puts encoded bytes at the end of a buffer, texts as a whole; gives the buffer's length.
struct Appender<'a>(&'a mut Vec<u8>);

impl Flavor for Appender<'_> {
    type Output = usize;

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        // Most are numbers of few bytes: to copy those takes less than to call for a copy.
        const NUMBER: usize = 10;
        if bytes.len() <= NUMBER {
            self.0.reserve(NUMBER);
            for byte in bytes {
                self.0.push(*byte);
            }
        } else {
            self.0.extend_from_slice(bytes);
        }
        Ok(())
    }

    fn finalize(self) -> postcard::Result<usize> {
        Ok(self.0.len())
    }
}

/// Cuts a byte stream into frames.
#[derive(Debug, Default)]
pub struct FrameReader {
    buffer: Vec<u8>,
    consumed: usize,
}

impl FrameReader {
    /// An empty reader.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds bytes as they came.
    pub fn feed(&mut self, bytes: &[u8]) {
        if self.consumed > 0 {
            self.buffer.drain(..self.consumed);
            self.consumed = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next complete frame, or `None` until more bytes come.
    ///
    /// # Errors
    /// [`WireError::FrameTooLarge`], [`WireError::EmptyFrame`]: the stream cannot be read on.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, WireError> {
        let rest = &self.buffer[self.consumed..];
        let Some((length, body)) = rest.split_first_chunk::<4>() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes(*length) as usize;
        if length > MAX_FRAME {
            return Err(WireError::FrameTooLarge(length));
        }
        if length == 0 {
            return Err(WireError::EmptyFrame);
        }
        if body.len() < length {
            return Ok(None);
        }
        let start = self.consumed + 4;
        self.consumed = start + length;
        Ok(Some(Frame {
            body: &self.buffer[start..start + length],
        }))
    }
}

/// One frame's messages.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    body: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Decodes the messages one by one; ends after the first that is malformed.
    pub fn messages<M: DeserializeOwned>(self) -> Messages<'a, M> {
        Messages {
            rest: self.body,
            failed: false,
            message: PhantomData,
        }
    }
}

/// Iterator over a frame's messages.
#[derive(Debug)]
pub struct Messages<'a, M> {
    rest: &'a [u8],
    failed: bool,
    message: PhantomData<M>,
}

impl<M: DeserializeOwned> Iterator for Messages<'_, M> {
    type Item = Result<M, WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() || self.failed {
            return None;
        }
        match postcard::take_from_bytes(self.rest) {
            Ok((message, rest)) => {
                self.rest = rest;
                Some(Ok(message))
            }
            Err(_) => {
                self.failed = true;
                Some(Err(WireError::Malformed))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Event, EventKind, Outcome};
    use crate::file::File;
    use crate::wire::ToAgent;

    fn open_event(sequence: u64, path: &str) -> ToAgent {
        ToAgent::Event(Box::new(Event {
            sequence,
            time: 1,
            pid: 2,
            tid: 2,
            outcome: Outcome::Succeeded,
            kind: EventKind::Open {
                file: File::from_path(path),
                flags: 0,
                mode: 0,
            },
        }))
    }

    fn read_all(bytes: &[u8], chunk: usize) -> Vec<ToAgent> {
        let mut reader = FrameReader::new();
        let mut messages = Vec::new();
        for part in bytes.chunks(chunk) {
            reader.feed(part);
            while let Some(frame) = reader.next_frame().unwrap() {
                messages.extend(frame.messages::<ToAgent>().map(Result::unwrap));
            }
        }
        messages
    }

    #[test]
    fn messages_survive_any_cut_of_the_stream() {
        let sent: Vec<_> = (1..50).map(|n| open_event(n, "/etc/passwd")).collect();
        let mut writer = FrameWriter::new();
        for message in &sent {
            writer.push(message).unwrap();
        }
        let bytes = writer.take();
        for chunk in [1, 3, 7, 4096] {
            assert_eq!(read_all(&bytes, chunk), sent);
        }
    }

    #[test]
    fn a_full_frame_is_followed_by_another() {
        let long = "/".repeat(100_000);
        let sent: Vec<_> = (1..6).map(|n| open_event(n, &long)).collect();
        let mut writer = FrameWriter::new();
        for message in &sent {
            writer.push(message).unwrap();
        }
        assert_eq!(read_all(&writer.take(), 65_536), sent);
    }

    #[test]
    fn a_message_over_the_limit_is_refused_and_leaves_no_trace() {
        let mut writer = FrameWriter::new();
        let huge = open_event(1, &"x".repeat(MAX_FRAME + 1));
        assert_eq!(writer.push(&huge), Err(WireError::MessageTooLarge));
        assert!(writer.is_empty());
        writer.push(&open_event(2, "/a")).unwrap();
        assert_eq!(writer.push(&huge), Err(WireError::MessageTooLarge));
        assert_eq!(read_all(&writer.take(), 10), vec![open_event(2, "/a")]);
    }

    #[test]
    fn bad_lengths_and_bad_bytes_are_errors() {
        let mut reader = FrameReader::new();
        reader.feed(&u32::MAX.to_le_bytes());
        assert!(matches!(
            reader.next_frame(),
            Err(WireError::FrameTooLarge(_))
        ));
        let mut reader = FrameReader::new();
        reader.feed(&[0, 0, 0, 0]);
        assert!(matches!(reader.next_frame(), Err(WireError::EmptyFrame)));
        let mut reader = FrameReader::new();
        reader.feed(&[2, 0, 0, 0, 0xff, 0xff]);
        let frame = reader.next_frame().unwrap().unwrap();
        let messages: Vec<_> = frame.messages::<ToAgent>().collect();
        assert_eq!(messages, vec![Err(WireError::Malformed)]);
    }
}
