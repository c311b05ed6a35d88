//! Descriptors that are passed over Unix sockets: `SCM_RIGHTS` in a message's control data.

/// Longest control data that is looked at: the 253 descriptors that one message may carry
/// (`SCM_MAX_FD`), their header, and credentials before them.
pub(crate) const CONTROL_MAX: usize = 1200;
/// Descriptors of one message that are told.
pub(crate) const TOLD_MAX: usize = 16;

const SOL_SOCKET: i32 = 1;
const SCM_RIGHTS: i32 = 1;

/// The descriptors in control data, which is a row of `struct cmsghdr`: length (a word of the
/// caller's size), level, type, data, each beginning at a multiple of a word.
pub(crate) fn descriptors(control: &[u8], word: usize) -> Vec<i32> {
    let mut found = Vec::new();
    let mut rest = control;
    let header = word + 8;
    while rest.len() >= header {
        let mut length = [0u8; 8];
        length[..word].copy_from_slice(&rest[..word]);
        let length = u64::from_le_bytes(length) as usize;
        if length < header || length > rest.len() {
            break;
        }
        let numbers = rest[word..length].chunks_exact(4).map(|bytes| {
            let mut number = [0u8; 4];
            number.copy_from_slice(bytes);
            i32::from_le_bytes(number)
        });
        let mut numbers = numbers;
        if (numbers.next(), numbers.next()) == (Some(SOL_SOCKET), Some(SCM_RIGHTS)) {
            found.extend(numbers);
        }
        rest = rest
            .get(length.next_multiple_of(word)..)
            .unwrap_or_default();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(length: u64, kind: i32, data: &[i32]) -> Vec<u8> {
        let mut bytes = length.to_le_bytes().to_vec();
        for number in [SOL_SOCKET, kind].iter().chain(data) {
            bytes.extend(number.to_le_bytes());
        }
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }

    #[test]
    fn rights_are_found_behind_other_control_data() {
        const SCM_CREDENTIALS: i32 = 2;
        let credentials = header(28, SCM_CREDENTIALS, &[1, 0, 0]);
        let rights = header(28, SCM_RIGHTS, &[7, 8, 9]);
        let control = [credentials, rights].concat();
        assert_eq!(descriptors(&control, 8), [7, 8, 9]);
    }

    #[test]
    fn lengths_that_lead_nowhere_end_it() {
        for length in [0, 15, 64, u64::MAX] {
            let control = header(length, SCM_RIGHTS, &[7, 8]);
            assert_eq!(descriptors(&control, 8), [] as [i32; 0], "{length}");
        }
        assert_eq!(descriptors(&[], 4), [] as [i32; 0]);
    }
}
