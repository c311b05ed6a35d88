//! Kubernetes quantities: `50m`, `1.5Gi`, `2e3`.

use serde_json::Value;

/// CPU in thousandths of a core, rounded up. `None` when it is not a quantity or negative.
pub fn millicores(value: &Value) -> Option<u64> {
    to_unit(value, 1_000_000)
}

/// Memory in bytes, rounded up. `None` when it is not a quantity or negative.
pub fn bytes(value: &Value) -> Option<u64> {
    to_unit(value, 1_000_000_000)
}

/// `50m` or `2`: the form in which the API server gives the amount back.
pub fn format_millicores(millicores: u64) -> String {
    if millicores.is_multiple_of(1000) {
        (millicores / 1000).to_string()
    } else {
        format!("{millicores}m")
    }
}

/// `64Mi` or `1Gi`: the form in which the API server gives the amount back.
pub fn format_mebibytes(mebibytes: u64) -> String {
    if mebibytes.is_multiple_of(1024) && mebibytes > 0 {
        format!("{}Gi", mebibytes / 1024)
    } else if mebibytes == 0 {
        "0".to_owned()
    } else {
        format!("{mebibytes}Mi")
    }
}

/// Whole mebibytes as [`format_mebibytes`] has them, other amounts in bytes.
pub fn format_bytes(bytes: u64) -> String {
    if bytes.is_multiple_of(1 << 20) {
        format_mebibytes(bytes >> 20)
    } else {
        bytes.to_string()
    }
}

fn to_unit(value: &Value, nanos_per_unit: i128) -> Option<u64> {
    let nanos = match value {
        Value::String(text) => nanos(text)?,
        Value::Number(number) => nanos(&number.to_string())?,
        _ => return None,
    };
    u64::try_from(nanos.checked_add(nanos_per_unit - 1)? / nanos_per_unit).ok()
}

/// Billionths of the base unit.
fn nanos(text: &str) -> Option<i128> {
    const NANO: i128 = 1_000_000_000;
    let digits_end = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '+'))
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits_end);
    let number = number.strip_prefix('+').unwrap_or(number);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || whole.len() > 18 || fraction.len() > 12 {
        return None;
    }
    let mantissa: i128 = match fraction {
        "" => whole.parse().ok()?,
        _ => format!("{whole}{fraction}").parse().ok()?,
    };
    let scale = 10_i128.pow(u32::try_from(fraction.len()).ok()?);
    let factor = match suffix {
        "n" => 1,
        "u" => 1_000,
        "m" => 1_000_000,
        "" => NANO,
        "k" => NANO * 1_000,
        "M" => NANO * 1_000_000,
        "G" => NANO * 1_000_000_000,
        "T" => NANO * 1_000_000_000_000,
        "P" => NANO * 1_000_000_000_000_000,
        "E" => NANO * 1_000_000_000_000_000_000,
        "Ki" => NANO << 10,
        "Mi" => NANO << 20,
        "Gi" => NANO << 30,
        "Ti" => NANO << 40,
        "Pi" => NANO << 50,
        "Ei" => NANO << 60,
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E'])?;
            let exponent: i32 = exponent.parse().ok()?;
            let power = 10_i128.checked_pow(exponent.unsigned_abs())?;
            return if exponent < 0 {
                Some(mantissa.checked_mul(NANO)? / scale / power)
            } else {
                Some(mantissa.checked_mul(NANO)?.checked_mul(power)? / scale)
            };
        }
    };
    Some(mantissa.checked_mul(factor)?.checked_add(scale - 1)? / scale)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn cpu_by_table() {
        for (value, expected) in [
            (json!("250m"), Some(250)),
            (json!("1"), Some(1000)),
            (json!(2), Some(2000)),
            (json!(0.5), Some(500)),
            (json!("0"), Some(0)),
            (json!("1.5"), Some(1500)),
            (json!("100u"), Some(1)),
            (json!("1e-1"), Some(100)),
            (json!("-1"), None),
            (json!("abc"), None),
            (json!(""), None),
            (json!("1x"), None),
            (json!(null), None),
        ] {
            assert_eq!(millicores(&value), expected, "{value}");
        }
    }

    #[test]
    fn memory_by_table() {
        for (value, expected) in [
            (json!("64Mi"), Some(64 << 20)),
            (json!("1.5Gi"), Some(3 << 29)),
            (json!("100M"), Some(100_000_000)),
            (json!(1024), Some(1024)),
            (json!("1e3"), Some(1000)),
            (json!("1E"), Some(1_000_000_000_000_000_000)),
            (json!("999999999999999999Ei"), None),
            (json!("9999999999999999999"), None),
        ] {
            assert_eq!(bytes(&value), expected, "{value}");
        }
    }

    #[test]
    fn written_as_the_api_server_does() {
        assert_eq!(format_millicores(0), "0");
        assert_eq!(format_millicores(50), "50m");
        assert_eq!(format_millicores(2000), "2");
        assert_eq!(format_mebibytes(64), "64Mi");
        assert_eq!(format_mebibytes(2048), "2Gi");
    }
}
