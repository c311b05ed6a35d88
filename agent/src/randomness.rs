//! How much a domain looks as if it was made up at random.
//!
//! Malware finds its master by asking for names that a formula makes from the date. What people
//! register is made of words, in which some letters follow others far more often; what a formula
//! makes is not. This measure alone says little about one name: rules ask for many such names
//! that do not exist.

/// Shorter names have too few pairs of letters to tell.
const SHORTEST: usize = 8;

/// For each letter, those that often follow it in words and names of European languages.
const FOLLOWERS: [&str; 26] = [
    "bcdgiklmnprstvwy",  // a
    "aeilorsuy",         // b
    "aehiklortuy",       // c
    "aegiorsuy",         // d
    "acdeilmnoprstvwx",  // e
    "aefiloru",          // f
    "aehilnorsu",        // g
    "aeioortuy",         // h
    "acdefgklmnoprstv",  // i
    "aeou",              // j
    "aeilnosy",          // k
    "adeikloostuy",      // l
    "aeimopsuy",         // m
    "acdegiknostuy",     // n
    "bcdfgklmnoprstuvw", // o
    "aehiloprstuy",      // p
    "u",                 // q
    "acdegikmnorstuy",   // r
    "acehikloprstuwy",   // s
    "aehilorstuwy",      // t
    "bcdegilmnprst",     // u
    "aeioy",             // v
    "aehinors",          // w
    "aeipty",            // x
    "aeilmnopst",        // y
    "aeiouz",            // z
];

/// From 0, made of words, to 100, made of anything: the share of neighbouring characters in the
/// registrable part of a name (`x7qk…` of `www.x7qk….com`) that words do not have.
pub(crate) fn randomness(name: &str) -> i64 {
    let name = name.strip_suffix('.').unwrap_or(name);
    let Some(label) = registrable(name) else {
        return 0;
    };
    if label.len() < SHORTEST || label.starts_with("xn--") {
        return 0;
    }
    let (mut pairs, mut odd) = (0, 0);
    for pair in label.as_bytes().windows(2) {
        let (first, second) = (pair[0].to_ascii_lowercase(), pair[1].to_ascii_lowercase());
        // A hyphen stands between words, and a number may end one.
        if first == b'-' || second == b'-' || first.is_ascii_digit() && second.is_ascii_digit() {
            continue;
        }
        pairs += 1;
        let usual = match first {
            b'a'..=b'z' => FOLLOWERS[usize::from(first - b'a')]
                .as_bytes()
                .contains(&second),
            _ => false,
        };
        odd += i64::from(!usual);
    }
    if pairs < 4 { 0 } else { odd * 100 / pairs }
}

/// The label under which a domain is registered: the last but one, or the one before an ending
/// of two short parts (`co.uk`).
fn registrable(name: &str) -> Option<&str> {
    let mut labels = name.rsplit('.');
    let top = labels.next()?;
    let second = labels.next()?;
    let is_ending = top.len() == 2 && second.len() <= 3;
    if is_ending {
        labels.next().or(Some(second))
    } else {
        Some(second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_made_of_words_score_low_and_made_up_ones_high() {
        for name in [
            "www.kubernetes.io",
            "api.amazonaws.com",
            "stackoverflow.com",
            "registry.example.co.uk",
            "dynamodb.eu-west-1.amazonaws.com",
            "googleusercontent.com",
            "cloudflare-dns.com",
            "datadoghq.com",
            "githubusercontent.com",
            "wikipedia.org",
            "microsoftonline.com",
            "postgres.default.svc.cluster.local",
            "a9x.com",
            "localhost",
            "",
            ".",
        ] {
            assert!(randomness(name) < 45, "{name}: {}", randomness(name));
        }
        for name in [
            "xjqwkzvbpt.com",
            "qzkxvmwrjdfh.net",
            "a8f3k2x9q7w1z5.info",
            "wvrtqpljkxbzcmnd.ru",
            "hkqxzjvtrwpb.co.uk",
        ] {
            assert!(randomness(name) >= 45, "{name}: {}", randomness(name));
        }
    }

    #[test]
    fn most_of_what_a_generator_makes_is_told_from_words() {
        // A linear congruential generator, as malware uses one.
        let mut state: u32 = 20_240_501;
        let mut found = 0;
        for _ in 0..1000 {
            let name: String = (0..14)
                .map(|_| {
                    state = state.wrapping_mul(1_103_515_245).wrapping_add(12_345);
                    char::from(b'a' + (state >> 16) as u8 % 26)
                })
                .collect();
            found += usize::from(randomness(&format!("{name}.com")) >= 45);
        }
        assert!(found > 700, "{found}");
    }
}
