//! DNS messages (RFC 1035): as much as rules can ask for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use picket_events::event::Dns;

/// The port of name servers.
pub(crate) const PORT: u16 = 53;
/// Longest message that is looked at: what a datagram may hold without being asked for less.
pub(crate) const MESSAGE_MAX: usize = 4096;
/// Addresses of one answer that are kept.
const ANSWERS_MAX: usize = 32;

const HEADER: usize = 12;
const TYPE_A: u16 = 1;
const TYPE_AAAA: u16 = 28;

/// Reads a message front to back.
struct Reader<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let bytes = self.message.get(self.at..self.at.checked_add(count)?)?;
        self.at += count;
        Some(bytes)
    }

    fn byte(&mut self) -> Option<u8> {
        Some(self.bytes(1)?[0])
    }

    fn word(&mut self) -> Option<u16> {
        let bytes = self.bytes(2)?;
        Some(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    /// The name of a question, which is never compressed.
    fn name(&mut self) -> Option<Vec<u8>> {
        let mut name = Vec::new();
        loop {
            match self.byte()? {
                0 => return Some(name),
                length @ 1..=63 => {
                    if !name.is_empty() {
                        name.push(b'.');
                    }
                    name.extend_from_slice(self.bytes(length.into())?);
                }
                _ => return None,
            }
            if name.len() > 255 {
                return None;
            }
        }
    }

    fn skip_name(&mut self) -> Option<()> {
        loop {
            match self.byte()? {
                0 => return Some(()),
                length @ 1..=63 => self.bytes(length.into()).map(drop)?,
                // The rest stands somewhere before.
                0xc0.. => return self.byte().map(drop),
                _ => return None,
            }
        }
    }

    /// The address in a record, if it has one.
    fn record(&mut self) -> Option<Option<IpAddr>> {
        self.skip_name()?;
        let kind = self.word()?;
        self.bytes(6)?; // class, time to live
        let length = self.word()?;
        let data = self.bytes(length.into())?;
        Some(match (kind, data.len()) {
            (TYPE_A, 4) => <[u8; 4]>::try_from(data)
                .ok()
                .map(|a| Ipv4Addr::from(a).into()),
            (TYPE_AAAA, 16) => <[u8; 16]>::try_from(data)
                .ok()
                .map(|a| Ipv6Addr::from(a).into()),
            _ => None,
        })
    }
}

/// Decodes a question or an answer; `None` for what is neither. An answer that is cut off
/// gives what it has.
pub(crate) fn decode(message: &[u8]) -> Option<Dns> {
    let mut reader = Reader { message, at: 0 };
    let (id, flags) = (reader.word()?, reader.word()?);
    let (questions, answers) = (reader.word()?, reader.word()?);
    reader.bytes(HEADER - 8)?;
    let is_standard = flags >> 11 & 0xf == 0;
    if !is_standard || questions == 0 {
        return None;
    }
    let name = reader.name()?;
    let (question_type, class) = (reader.word()?, reader.word()?);
    let is_answer = flags >> 15 == 1;
    let mut addresses = Vec::new();
    if is_answer && questions == 1 {
        for _ in 0..answers {
            let Some(address) = reader.record() else {
                break;
            };
            addresses.extend(address);
            if addresses.len() >= ANSWERS_MAX {
                break;
            }
        }
    }
    Some(Dns {
        id,
        name: picket_events::text::from_bytes(&name),
        question_type,
        class,
        length: u16::try_from(message.len()).unwrap_or(u16::MAX),
        count: questions,
        response_code: is_answer.then_some((flags & 0xf) as u8),
        answers: addresses,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question() -> Vec<u8> {
        let mut message = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        message.extend(b"\x03www\x07example\x03org\0\0\x01\0\x01");
        message
    }

    fn answer() -> Vec<u8> {
        let mut message = question();
        message[2] = 0x81;
        message[7] = 3;
        // An alias, then two addresses.
        message.extend(b"\xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x02\xc0\x10");
        message.extend(b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\xa9\xfe\xa9\xfe");
        message.extend(b"\xc0\x0c\0\x1c\0\x01\0\0\0\x3c\0\x10");
        message.extend([0xfd, 0, 0x0e, 0xc2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0x54]);
        message
    }

    #[test]
    fn a_question_is_told_by_its_name() {
        let dns = decode(&question()).unwrap();
        assert_eq!((dns.id, dns.name.as_str()), (0x1234, "www.example.org"));
        assert_eq!((dns.question_type, dns.class, dns.count), (1, 1, 1));
        assert_eq!((dns.response_code, dns.length), (None, 33));
    }

    #[test]
    fn an_answer_is_told_with_its_addresses() {
        let dns = decode(&answer()).unwrap();
        assert_eq!(dns.response_code, Some(0));
        let expected: [IpAddr; 2] =
            ["169.254.169.254", "fd00:ec2::254"].map(|ip| ip.parse().unwrap());
        assert_eq!(dns.answers, expected);
    }

    #[test]
    fn nothing_that_comes_is_too_strange() {
        let whole = answer();
        for length in 0..whole.len() {
            let _ = decode(&whole[..length]);
        }
        // Every byte in every place, and noise.
        for at in 0..whole.len() {
            for byte in 0..=255 {
                let mut message = whole.clone();
                message[at] = byte;
                let _ = decode(&message);
            }
        }
        let mut state = 1u32;
        for _ in 0..20_000 {
            let noise: Vec<u8> = (0..64)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (state >> 24) as u8
                })
                .collect();
            let _ = decode(&noise);
        }
    }
}
