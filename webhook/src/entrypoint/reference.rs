//! Image references, as container runtimes read them.

use std::fmt;

use super::{Cause, Unresolved};

/// The registry of references that name none.
const DOCKER_HUB: &str = "docker.io";
/// Longest repository name; the limit of the distribution specification.
const MAX_REPOSITORY: usize = 255;

/// An image reference with everything filled in that runtimes fill in.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<String>,
}

impl Reference {
    /// Reads a reference such as `nginx`, `team/web:1` or `registry.example:5000/web@sha256:…`.
    ///
    /// # Errors
    /// [`Cause::InvalidReference`].
    pub fn parse(text: &str) -> Result<Self, Unresolved> {
        let invalid = |what: &str| Unresolved::new(Cause::InvalidReference, what);
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest)),
            None => (text, None),
        };
        let slash = name.rfind('/').map_or(0, |slash| slash + 1);
        let (name, tag) = match name[slash..].find(':') {
            Some(colon) => (&name[..slash + colon], Some(&name[slash + colon + 1..])),
            None => (name, None),
        };
        let (registry, repository) = match name.split_once('/') {
            Some((first, rest)) if is_host(first) => {
                let lower = first.to_ascii_lowercase();
                // Capitals may be all that makes it a host.
                let host = if is_host(&lower) { &lower } else { first };
                (host.to_owned(), rest.to_owned())
            }
            _ => (DOCKER_HUB.to_owned(), name.to_owned()),
        };
        let registry = match registry.as_str() {
            "index.docker.io" | "registry-1.docker.io" => DOCKER_HUB.to_owned(),
            _ => registry,
        };
        let repository = if registry == DOCKER_HUB && !repository.contains('/') {
            format!("library/{repository}")
        } else {
            repository
        };
        if !is_authority(&registry) {
            return Err(invalid("the registry is not a host"));
        }
        if !is_repository(&repository) {
            return Err(invalid("the repository's name is not one"));
        }
        if !tag.is_none_or(is_tag) {
            return Err(invalid("the tag is not one"));
        }
        if !digest.is_none_or(is_digest) {
            return Err(invalid("the digest is not one"));
        }
        let tag = tag.map(str::to_owned);
        Ok(Self {
            registry,
            repository,
            tag,
            digest: digest.map(str::to_owned),
        })
    }

    /// Host, and port if there is one, as credentials name it: `docker.io` for Docker Hub.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The repository, for example `library/nginx`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The digest, if the reference has one.
    pub fn digest(&self) -> Option<&str> {
        self.digest.as_deref()
    }

    /// What the registry is asked for: the digest, or the tag, or `latest`.
    pub fn selector(&self) -> &str {
        let tag = || self.tag.as_deref().unwrap_or("latest");
        self.digest.as_deref().unwrap_or_else(tag)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => write!(f, ":{}", self.selector()),
        }
    }
}

/// Where an API is asked for images of a registry.
pub(super) fn api_host(registry: &str) -> &str {
    match registry {
        DOCKER_HUB => "registry-1.docker.io",
        other => other,
    }
}

/// The first part of a reference is a host when it could not be part of a repository.
fn is_host(first: &str) -> bool {
    first == "localhost" || first.contains(['.', ':', '[']) || first != first.to_ascii_lowercase()
}

/// A host name or address, and a port if there is one.
pub(super) fn is_authority(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, rest)) if address.parse::<std::net::Ipv6Addr>().is_ok() => (
                None,
                rest.strip_prefix(':')
                    .or(Some(rest).filter(|rest| !rest.is_empty())),
            ),
            _ => return false,
        },
        None => match text.split_once(':') {
            Some((host, port)) => (Some(host), Some(port)),
            None => (Some(text), None),
        },
    };
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    host.is_none_or(|host| host.len() <= 253 && host.split('.').all(label))
        && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

/// What goes into a URL's path: no `..`, no escapes, no surprises.
pub(super) fn is_repository(text: &str) -> bool {
    let part = |part: &str| {
        let ends = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
        ends(part.bytes().next())
            && ends(part.bytes().next_back())
            && !part.contains("..")
            && part.bytes().all(|byte| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte)
            })
    };
    text.len() <= MAX_REPOSITORY && text.split('/').all(part)
}

fn is_tag(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.len() <= 128
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|byte| word(byte) || b".-".contains(&byte))
}

/// A digest by an algorithm that we can check.
pub(super) fn is_digest(text: &str) -> bool {
    let hex = |hex: &str, length: usize| {
        hex.len() == length
            && hex
                .bytes()
                .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    };
    match text.split_once(':') {
        Some(("sha256", rest)) => hex(rest, 64),
        Some(("sha512", rest)) => hex(rest, 128),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runtimes_fill_in() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let pinned = format!("r.example/web:1@{digest}");
        let expected = format!("r.example/web@{digest}");
        for (text, full) in [
            ("nginx", "docker.io/library/nginx:latest"),
            ("nginx:1.27", "docker.io/library/nginx:1.27"),
            ("team/web", "docker.io/team/web:latest"),
            ("docker.io/nginx", "docker.io/library/nginx:latest"),
            ("index.docker.io/team/web:1", "docker.io/team/web:1"),
            ("localhost/web", "localhost/web:latest"),
            ("localhost:5000/web:1", "localhost:5000/web:1"),
            ("[::1]:5000/web:1", "[::1]:5000/web:1"),
            ("R.example/web", "r.example/web:latest"),
            ("Host/web", "Host/web:latest"),
            ("r.example/a/b_c/d--e:x_1", "r.example/a/b_c/d--e:x_1"),
            (pinned.as_str(), expected.as_str()),
        ] {
            let reference =
                Reference::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(reference.to_string(), full);
        }
    }

    #[test]
    fn what_is_no_reference() {
        for text in [
            "",
            "/",
            "a//b",
            "r.example/",
            "r.example/../secret",
            "r.example/a/..",
            "r.example/A",
            "r.example/a?b",
            "r.example/a%2fb",
            "r.example/a:b:c",
            "r.example:x/a",
            "r.example:0/a",
            "user@r.example/a",
            "https://r.example/a",
            "-r.example/a",
            "r.example/a:",
            "a b",
            "r.example/a@sha256:xyz",
            "r.example/a@md5:aa",
            "r.example/a\n",
            "[::1/a",
            "[x]:1/a",
            "r..example/a",
            "r.example/-a",
            ".example/a",
        ] {
            let refused = Reference::parse(text).map(|found| found.to_string());
            assert_eq!(
                refused.map_err(|error| error.cause),
                Err(Cause::InvalidReference),
                "{text}"
            );
        }
    }
}
