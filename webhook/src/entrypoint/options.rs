//! What a resolver is made of.

use std::time::Duration;

use super::cache::Lifetimes;
use super::keychain::Keychain;
use super::reference::{is_authority, is_repository};

/// What a resolver is made of.
#[derive(Debug, Clone)]
pub struct Options {
    /// Credentials.
    pub keychain: Keychain,
    /// How long answers are believed.
    pub lifetimes: Lifetimes,
    /// How long somebody who waits for an admission is kept waiting.
    pub patience: Duration,
    /// Where images of a registry are looked for first.
    pub mirrors: Vec<Mirror>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            keychain: Keychain::default(),
            lifetimes: Lifetimes::default(),
            patience: Duration::from_secs(2),
            mirrors: Vec::new(),
        }
    }
}

/// Another place for the images of a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// The registry as references name it, for example `docker.io`.
    pub registry: String,
    /// Host, and port if there is one, of the mirror.
    pub host: String,
    /// What stands before the repository's name there; may be empty.
    pub prefix: String,
}

impl std::str::FromStr for Mirror {
    type Err = &'static str;

    /// Reads `docker.io=mirror.example/prefix`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = "give it as registry=host/prefix, for example docker.io=mirror.example/hub";
        let (registry, mirror) = text.split_once('=').ok_or(wrong)?;
        let (host, prefix) = mirror.split_once('/').unwrap_or((mirror, ""));
        let prefix = prefix.trim_matches('/');
        let sound = is_authority(registry)
            && is_authority(host)
            && (prefix.is_empty() || is_repository(prefix));
        sound
            .then(|| Self {
                registry: registry.to_ascii_lowercase(),
                host: host.to_ascii_lowercase(),
                prefix: prefix.to_owned(),
            })
            .ok_or(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_by_table() {
        for (text, expected) in [
            (
                "docker.io=mirror.example",
                Some(("docker.io", "mirror.example", "")),
            ),
            (
                "docker.io=mirror.example:5000/hub/",
                Some(("docker.io", "mirror.example:5000", "hub")),
            ),
            (
                "r.example=m.example/a/b",
                Some(("r.example", "m.example", "a/b")),
            ),
            ("docker.io", None),
            ("docker.io=https://m.example", None),
            ("=m.example", None),
            ("docker.io=m.example/../x", None),
        ] {
            let mirror: Option<Mirror> = text.parse().ok();
            let found = mirror.as_ref().map(|mirror| {
                (
                    mirror.registry.as_str(),
                    mirror.host.as_str(),
                    mirror.prefix.as_str(),
                )
            });
            assert_eq!(found, expected, "{text}");
        }
    }
}
