//! Wildcards in names: `*` is any run of characters, `?` is one.

/// True when the whole text fits the pattern. Takes time in proportion to the product of both
/// lengths at worst.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if p < pattern.len() && pattern[p] == '*' {
            star = Some((p, t));
            p += 1;
        } else if p < pattern.len() && (pattern[p] == '?' || pattern[p] == text[t]) {
            p += 1;
            t += 1;
        } else if let Some((at, taken)) = star {
            // Let the last star take one more character and try again.
            star = Some((at, taken + 1));
            p = at + 1;
            t = taken + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|rest| *rest == '*')
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn by_table() {
        for (pattern, text, expected) in [
            ("web", "web", true),
            ("web", "web2", false),
            ("web*", "web", true),
            ("*", "", true),
            ("", "", true),
            ("?", "", false),
            ("w?b", "wob", true),
            ("*-proxy", "istio-proxy", true),
            ("*-proxy", "istio-proxy2", false),
            ("a*b*c", "aXbbYc", true),
            ("a*b*c", "aXbbY", false),
            (
                "registry.example/*/web:*",
                "registry.example/team/shop/web:1",
                true,
            ),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} on {text}");
        }
    }
}
