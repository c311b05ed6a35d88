//! Durations as Go writes them.

/// Units in nanoseconds; a unit that begins like another comes first.
pub(crate) const UNITS: [(&str, i64); 5] = [
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
];

/// Reads `1h30m`, `500ms`, `1.5s`, `10us`; also a plain number of nanoseconds.
pub(crate) fn parse(text: &str) -> Option<i64> {
    if let Ok(nanoseconds) = text.parse::<i64>() {
        return Some(nanoseconds);
    }
    let mut rest = text;
    let mut total = 0f64;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .filter(|n| *n > 0)?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let small = [("ns", 1), ("us", 1_000), ("µs", 1_000)];
        let (unit, size) = small
            .into_iter()
            .chain(UNITS)
            .find(|(unit, _)| rest.starts_with(unit))?;
        total += number * size as f64;
        rest = &rest[unit.len()..];
    }
    (!text.is_empty() && total < i64::MAX as f64).then_some(total as i64)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn durations_are_read_as_go_writes_them() {
        assert_eq!(parse("1h30m"), Some(5_400_000_000_000));
        assert_eq!(parse("500ms"), Some(500_000_000));
        assert_eq!(parse("1.5s"), Some(1_500_000_000));
        assert_eq!(parse("600000000000"), Some(600_000_000_000));
        for wrong in ["", "s", "5", "5x", "1h m"] {
            assert_eq!(parse(wrong).is_some(), wrong == "5", "{wrong}");
        }
    }
}
