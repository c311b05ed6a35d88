//! Points in time as RFC 3339 text, in UTC.

/// Nanoseconds since the epoch as `2026-02-03T04:05:06.789Z`; `None` for 0, which means
/// unknown everywhere in Picket.
pub fn rfc3339(nanoseconds: u64) -> Option<String> {
    if nanoseconds == 0 {
        return None;
    }
    let milliseconds = nanoseconds / 1_000_000;
    let (seconds, millisecond) = (milliseconds / 1000, milliseconds % 1000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date_of(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    Some(format!(
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millisecond:03}Z"
    ))
}

/// Year, month and day of a count of days since 1970-01-01, by the Gregorian calendar.
///
/// Years are counted from March so that the leap day is the last one; 146,097 days are 400
/// years.
fn date_of(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::rfc3339;

    #[test]
    fn known_dates() {
        let cases = [
            (1, "1970-01-01T00:00:00.000Z"),
            (951_782_399, "2000-02-28T23:59:59.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (1_709_251_199, "2024-02-29T23:59:59.000Z"),
            (1_735_689_600, "2025-01-01T00:00:00.000Z"),
            (4_102_444_800, "2100-01-01T00:00:00.000Z"),
        ];
        for (seconds, text) in cases {
            let nanoseconds = if seconds == 1 {
                1
            } else {
                seconds * 1_000_000_000
            };
            assert_eq!(rfc3339(nanoseconds).as_deref(), Some(text));
        }
        assert_eq!(rfc3339(0), None);
        assert!(rfc3339(u64::MAX).is_some());
    }
}
