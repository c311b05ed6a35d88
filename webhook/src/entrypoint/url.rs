//! The URLs that may be asked.

use std::fmt;

use hyper::Uri;

use super::guard::Guard;

/// Scheme, host and port: what credentials are good for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Origin {
    pub(super) tls: bool,
    pub(super) host: String,
    pub(super) port: u16,
}

impl Origin {
    /// As it stands in a URL: with the port only where it is not the usual one.
    pub(super) fn authority(&self) -> String {
        if self.port == (if self.tls { 443 } else { 80 }) {
            self.host.clone()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// A URL that may be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Url {
    pub(super) origin: Origin,
    /// Path and query.
    pub(super) path: String,
}

impl fmt::Display for Url {
    /// Without the query, which may hold signatures.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.origin.tls { "https" } else { "http" };
        let path = self.path.split('?').next().unwrap_or_default();
        write!(f, "{scheme}://{}{path}", self.origin.authority())
    }
}

impl Url {
    /// Reads an absolute URL. Plain HTTP only where the guard says so.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(text: &str, guard: &Guard) -> Result<Self, &'static str> {
        let uri: Uri = text.parse().map_err(|_| "not a URL")?;
        let authority = uri.authority().ok_or("not an absolute URL")?;
        if authority.as_str().contains('@') {
            return Err("credentials in a URL");
        }
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err("not HTTPS"),
        };
        let origin = Origin {
            tls,
            host: authority.host().to_ascii_lowercase(),
            port: authority.port_u16().unwrap_or(if tls { 443 } else { 80 }),
        };
        if !tls && !guard.is_plain(&origin.authority()) {
            return Err("not HTTPS");
        }
        let path = uri
            .path_and_query()
            .map_or("/", |path| path.as_str())
            .to_owned();
        Ok(Self { origin, path })
    }

    /// Where a `Location` leads from here.
    pub(super) fn join(&self, location: &str, guard: &Guard) -> Result<Self, &'static str> {
        if location.starts_with('/') && !location.starts_with("//") {
            location.parse::<Uri>().map_err(|_| "not a URL")?;
            return Ok(Self {
                origin: self.origin.clone(),
                path: location.to_owned(),
            });
        }
        Self::parse(location, guard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_by_table() {
        let guard = Guard {
            plain_http: vec!["plain.example:5000".into()],
            ..Guard::default()
        };
        for (text, expected) in [
            ("https://r.example/v2/?a=b", Ok("https://r.example/v2/")),
            ("https://R.example:443", Ok("https://r.example/")),
            ("https://r.example:444/x", Ok("https://r.example:444/x")),
            ("https://[::1]:5000/x", Ok("https://[::1]:5000/x")),
            (
                "http://plain.example:5000/x",
                Ok("http://plain.example:5000/x"),
            ),
            ("http://plain.example/x", Err("not HTTPS")),
            ("http://r.example/x", Err("not HTTPS")),
            ("ftp://r.example/x", Err("not HTTPS")),
            ("https://u:p@r.example/x", Err("credentials in a URL")),
            ("/x", Err("not an absolute URL")),
            ("https://r.example/a b", Err("not a URL")),
        ] {
            let url = Url::parse(text, &guard).map(|url| url.to_string());
            assert_eq!(url.as_deref().map_err(|error| *error), expected, "{text}");
        }
    }

    #[test]
    fn locations_by_table() {
        let guard = Guard::default();
        let here = Url::parse("https://r.example/v2/a/blobs/x", &guard).unwrap();
        for (location, expected) in [
            ("/other?sig=1", Ok("https://r.example/other")),
            ("https://cdn.example/y", Ok("https://cdn.example/y")),
            ("http://r.example/y", Err("not HTTPS")),
            ("//evil.example/y", Err("not an absolute URL")),
            ("y", Err("not HTTPS")),
            ("", Err("not a URL")),
        ] {
            let url = here.join(location, &guard).map(|url| url.to_string());
            match (&url, expected) {
                (Ok(url), Ok(expected)) => assert_eq!(url, expected),
                (Err(_), Err(_)) => {}
                other => panic!("{location}: {other:?}"),
            }
        }
    }
}
