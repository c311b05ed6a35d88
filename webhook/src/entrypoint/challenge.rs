//! What a registry asks for: `WWW-Authenticate`.

/// How a registry wants to be shown who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Challenge {
    /// Name and password.
    Basic,
    /// A token from a token service.
    Bearer {
        /// URL of the token service.
        realm: String,
        /// Who the token is for.
        service: Option<String>,
        /// What it is for.
        scope: Option<String>,
    },
}

/// Longest value of a parameter that is passed on.
const MAX_VALUE: usize = 1024;

impl Challenge {
    /// The challenge that serves best of a header's: a token is preferred, because its use is
    /// limited. `None` when there is none that we know.
    pub fn parse(header: &str) -> Option<Self> {
        let mut challenges = Vec::new();
        let mut rest = header.trim();
        while !rest.is_empty() && challenges.len() < 8 {
            let (scheme, after) = rest.split_once(' ').unwrap_or((rest, ""));
            let (parameters, after) = parameters(after);
            challenges.push((scheme.to_ascii_lowercase(), parameters));
            rest = after.trim_start_matches([',', ' ']);
        }
        let value = |parameters: &[(String, String)], name: &str| {
            let mut found = parameters.iter().filter(|(key, _)| key == name);
            found.next().map(|(_, value)| value.clone())
        };
        let bearer = challenges.iter().find_map(|(scheme, parameters)| {
            (scheme == "bearer").then_some(())?;
            Some(Self::Bearer {
                realm: value(parameters, "realm")?,
                service: value(parameters, "service"),
                scope: value(parameters, "scope"),
            })
        });
        let basic = || {
            challenges
                .iter()
                .any(|(scheme, _)| scheme == "basic")
                .then_some(Self::Basic)
        };
        bearer.or_else(basic)
    }
}

/// `name="value"` pairs, until something that is not one; and the rest.
fn parameters(mut text: &str) -> (Vec<(String, String)>, &str) {
    let mut found = Vec::new();
    loop {
        let start = text.trim_start_matches([' ', ',']);
        let Some((name, after)) = start.split_once('=') else {
            return (found, start);
        };
        if name.is_empty()
            || !name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        {
            return (found, start);
        }
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => unquoted(quoted),
            None => {
                let end = after.find([',', ' ']).unwrap_or(after.len());
                (after[..end].to_owned(), &after[end..])
            }
        };
        if value.len() > MAX_VALUE || found.len() >= 16 {
            return (found, "");
        }
        found.push((name.to_ascii_lowercase(), value));
        text = after;
    }
}

/// What is inside quotes, and what follows them.
fn unquoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((index, character)) = characters.next() {
        match character {
            '"' => return (value, &text[index + 1..]),
            '\\' => value.extend(characters.next().map(|(_, character)| character)),
            other => value.push(other),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Option<Challenge> {
        Some(Challenge::Bearer {
            realm: realm.into(),
            service: service.map(str::to_owned),
            scope: scope.map(str::to_owned),
        })
    }

    #[test]
    fn challenges_by_table() {
        for (header, expected) in [
            ("Basic realm=\"r\"", Some(Challenge::Basic)),
            ("basic", Some(Challenge::Basic)),
            (
                "Bearer realm=\"https://auth.example/token\",service=\"r\",scope=\"repository:a/b:pull,push\"",
                bearer(
                    "https://auth.example/token",
                    Some("r"),
                    Some("repository:a/b:pull,push"),
                ),
            ),
            ("Bearer service=\"no realm\"", None),
            (
                "Basic realm=\"r\", Bearer realm=\"t\"",
                bearer("t", None, None),
            ),
            (
                "Bearer realm=\"t\", Basic realm=\"r\"",
                bearer("t", None, None),
            ),
            ("BEARER realm=t service=s", bearer("t", Some("s"), None)),
            ("Bearer realm=\"a\\\"b\"", bearer("a\"b", None, None)),
            ("Bearer realm=\"open", bearer("open", None, None)),
            ("Negotiate", None),
            ("", None),
            (",,,", None),
            ("====", None),
        ] {
            assert_eq!(Challenge::parse(header), expected, "{header}");
        }
    }

    #[test]
    fn endless_headers_end() {
        for header in [
            "a=b,".repeat(10_000),
            "Bearer ".repeat(10_000),
            "\"\\".repeat(5_000),
        ] {
            assert_eq!(Challenge::parse(&header), None);
        }
        let long = format!("Bearer realm=\"{}\"", "x".repeat(5_000));
        assert_eq!(Challenge::parse(&long), None);
    }
}
