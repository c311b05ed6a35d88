//! Credentials in the two forms that Kubernetes' pull secrets have: `.dockerconfigjson`, which
//! is also `~/.docker/config.json`, and the older `.dockercfg`.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;

use crate::glob;

/// Largest document that is read; a Secret cannot be larger.
pub const MAX_DOCUMENT: usize = 1 << 20;

/// Credentials for a registry. `Debug` shows none of it.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// A name and a password, or whatever the registry takes for one.
    Basic {
        /// The name.
        username: String,
        /// The password.
        password: String,
    },
    /// An OAuth2 refresh token, which the registry's token service changes for access.
    IdentityToken(String),
    /// A token that is shown to the registry as it is.
    RegistryToken(String),
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Basic { .. } => "Basic(…)",
            Self::IdentityToken(_) => "IdentityToken(…)",
            Self::RegistryToken(_) => "RegistryToken(…)",
        })
    }
}

/// A document that is no credentials file. Holds nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Larger than any.
    #[error("larger than 1 MiB")]
    TooLarge,
    /// Not of that form. The parser's message is left out: it may quote.
    #[error("not valid at line {line}, column {column}")]
    Malformed {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
}

/// The credentials of one document.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DockerConfig {
    entries: Vec<(Key, Credential)>,
    helpers: BTreeMap<String, String>,
    store: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawConfig {
    #[serde(default)]
    auths: Option<BTreeMap<String, RawEntry>>,
    #[serde(default)]
    cred_helpers: Option<BTreeMap<String, String>>,
    #[serde(default)]
    creds_store: Option<String>,
}

#[derive(Deserialize)]
struct RawEntry {
    #[serde(default)]
    auth: Option<String>,
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    password: Option<String>,
    #[serde(default)]
    identitytoken: Option<String>,
    #[serde(default)]
    registrytoken: Option<String>,
}

impl RawEntry {
    fn credential(self) -> Option<Credential> {
        let said = |text: Option<String>| text.filter(|text| !text.is_empty());
        if let Some(token) = said(self.registrytoken) {
            return Some(Credential::RegistryToken(token));
        }
        if let Some(token) = said(self.identitytoken) {
            return Some(Credential::IdentityToken(token));
        }
        let (username, password) = match said(self.auth) {
            Some(auth) => decoded(&auth)?,
            None => (said(self.username)?, self.password.unwrap_or_default()),
        };
        // Docker's form for "the name says that the password is a refresh token".
        if username == "<token>" {
            return Some(Credential::IdentityToken(password));
        }
        Some(Credential::Basic { username, password })
    }
}

/// `name:password` in base64, with or without padding, as tools write it.
fn decoded(auth: &str) -> Option<(String, String)> {
    const LENIENT: GeneralPurpose = GeneralPurpose::new(
        &alphabet::STANDARD,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    let text = String::from_utf8(LENIENT.decode(auth.trim()).ok()?).ok()?;
    let (username, password) = text.split_once(':')?;
    let password = password.trim_end_matches('\0');
    Some((username.to_owned(), password.to_owned()))
}

impl DockerConfig {
    /// Reads `.dockerconfigjson`, or `~/.docker/config.json`.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn parse_json(bytes: &[u8]) -> Result<Self, ConfigError> {
        let raw: RawConfig = read(bytes)?;
        let mut config = Self::of(raw.auths.unwrap_or_default());
        config.helpers = raw.cred_helpers.unwrap_or_default();
        config.store = raw.creds_store.filter(|store| !store.is_empty());
        Ok(config)
    }

    /// Reads `.dockercfg`, which is the inside of `auths`.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn parse_cfg(bytes: &[u8]) -> Result<Self, ConfigError> {
        Ok(Self::of(read(bytes)?))
    }

    fn of(auths: BTreeMap<String, RawEntry>) -> Self {
        let mut entries: Vec<(Key, Credential)> = auths
            .into_iter()
            .filter_map(|(key, entry)| Some((Key::parse(&key), entry.credential()?)))
            .collect();
        entries.sort_by(|left, right| right.0.rank().cmp(&left.0.rank()));
        Self {
            entries,
            ..Self::default()
        }
    }

    /// The credentials that are meant for a repository, the most specific first.
    pub fn candidates<'c>(
        &'c self,
        registry: &str,
        repository: &str,
    ) -> impl Iterator<Item = &'c Credential> {
        let fitting = self
            .entries
            .iter()
            .filter(move |(key, _)| key.fits(registry, repository));
        fitting.map(|(_, credential)| credential)
    }

    /// The program (`docker-credential-NAME`) that knows credentials for a registry, if the
    /// document names one.
    pub fn helper(&self, registry: &str) -> Option<&str> {
        let names = aliases(registry);
        let named = names.iter().find_map(|name| self.helpers.get(*name));
        named.or(self.store.as_ref()).map(String::as_str)
    }
}

fn read<T: for<'d> Deserialize<'d>>(bytes: &[u8]) -> Result<T, ConfigError> {
    if bytes.len() > MAX_DOCUMENT {
        return Err(ConfigError::TooLarge);
    }
    serde_json::from_slice(bytes).map_err(|error| ConfigError::Malformed {
        line: error.line(),
        column: error.column(),
    })
}

/// What credentials are for: a host, in which every label may have wildcards, a port, and the
/// beginning of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Key {
    host: String,
    port: Option<String>,
    path: String,
}

impl Key {
    fn parse(text: &str) -> Self {
        let text = text
            .strip_prefix("https://")
            .or_else(|| text.strip_prefix("http://"))
            .unwrap_or(text);
        let (authority, path) = text.split_once('/').unwrap_or((text, ""));
        let path = ["v1", "v2"]
            .iter()
            .find_map(|version| {
                let rest = path.strip_prefix(version)?;
                (rest.is_empty() || rest.starts_with('/')).then_some(rest)
            })
            .unwrap_or(path);
        let (host, port) = split_port(authority);
        Self {
            host: host.to_ascii_lowercase(),
            port: port.map(str::to_owned),
            path: path.trim_matches('/').to_owned(),
        }
    }

    /// Longer is more specific; among equals the alphabet decides, so that order is stable.
    fn rank(&self) -> (usize, &str, &str) {
        (self.host.len() + self.path.len(), &self.host, &self.path)
    }

    fn fits(&self, registry: &str, repository: &str) -> bool {
        let (_, port) = split_port(registry);
        self.port.as_deref() == port
            && repository.starts_with(&self.path)
            && aliases(registry)
                .iter()
                .any(|name| host_fits(&self.host, split_port(name).0))
    }
}

fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

/// Label by label, so that `*.example` does not fit `a.b.example`.
fn host_fits(pattern: &str, host: &str) -> bool {
    let (pattern, host): (Vec<&str>, Vec<&str>) =
        (pattern.split('.').collect(), host.split('.').collect());
    pattern.len() == host.len()
        && pattern
            .iter()
            .zip(&host)
            .all(|(pattern, label)| glob::matches(pattern, label))
}

/// Docker Hub goes by several names.
fn aliases(registry: &str) -> Vec<&str> {
    match registry {
        "docker.io" => vec!["docker.io", "index.docker.io", "registry-1.docker.io"],
        other => vec![other],
    }
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;
    use serde_json::json;

    use super::*;

    fn config(keys: &[&str]) -> DockerConfig {
        let auths: serde_json::Map<_, _> = keys
            .iter()
            .map(|key| {
                (
                    (*key).to_owned(),
                    json!({"auth": STANDARD.encode(format!("{key}:pass"))}),
                )
            })
            .collect();
        DockerConfig::parse_json(json!({ "auths": auths }).to_string().as_bytes()).unwrap()
    }

    fn names(config: &DockerConfig, registry: &str, repository: &str) -> Vec<String> {
        let name = |credential: &Credential| match credential {
            Credential::Basic { username, .. } => username.clone(),
            other => format!("{other:?}"),
        };
        config.candidates(registry, repository).map(name).collect()
    }

    #[test]
    fn every_key_that_fits_is_a_candidate_the_longest_first() {
        // Names before the first colon: that is where `auth` is cut.
        let config = config(&[
            "r.example",
            "r.example/team",
            "r.example/team/web",
            "*.example",
            "https_r.example",
            "other.example/team/web",
            "*.*.example",
        ]);
        assert_eq!(
            names(&config, "r.example", "team/web/front"),
            [
                "r.example/team/web",
                "r.example/team",
                "r.example",
                "*.example"
            ]
        );
        assert_eq!(
            names(&config, "r.example", "other"),
            ["r.example", "*.example"]
        );
        assert_eq!(names(&config, "a.b.example", "x"), ["*.*.example"]);
        assert_eq!(
            names(&config, "r.example:5000", "team/web"),
            Vec::<String>::new()
        );
    }

    #[test]
    fn keys_by_table() {
        for (key, registry, repository, fits) in [
            (
                "https://index.docker.io/v1/",
                "docker.io",
                "library/nginx",
                true,
            ),
            ("docker.io", "docker.io", "library/nginx", true),
            ("registry-1.docker.io/v2/", "docker.io", "team/web", true),
            ("https://r.example/v2/team", "r.example", "team/web", true),
            ("https://r.example/v2/team", "r.example", "shop/web", false),
            ("r.example/v1alpha", "r.example", "v1alpha/web", true),
            ("r.example:5000", "r.example:5000", "a", true),
            ("r.example", "r.example:5000", "a", false),
            ("r.example:5000", "r.example", "a", false),
            (
                "*.dkr.ecr.*.amazonaws.com",
                "1.dkr.ecr.eu-west-1.amazonaws.com",
                "a",
                true,
            ),
            ("R.Example", "r.example", "a", true),
            ("example", "r.example", "a", false),
            ("[::1]:5000", "[::1]:5000", "a", true),
            ("[::1]", "[::1]", "a", true),
            ("", "r.example", "a", false),
        ] {
            assert_eq!(
                Key::parse(key).fits(registry, repository),
                fits,
                "{key} for {registry}"
            );
        }
    }

    #[test]
    fn both_forms_and_every_kind_of_credential() {
        let auths = json!({
            "a.example": {"username": "u", "password": "p:q"},
            "b.example": {"auth": STANDARD.encode("u:p:q").trim_end_matches('=')},
            "c.example": {"identitytoken": "refresh"},
            "d.example": {"auth": STANDARD.encode("<token>:refresh")},
            "e.example": {"registrytoken": "bearer"},
            "f.example": {"auth": "%%%"},
            "g.example": {},
        });
        let modern = json!({ "auths": auths, "credsStore": "desktop", "credHelpers": {"h.example": "ecr-login"} });
        let modern = DockerConfig::parse_json(modern.to_string().as_bytes()).unwrap();
        let old = DockerConfig::parse_cfg(auths.to_string().as_bytes()).unwrap();
        let basic = Credential::Basic {
            username: "u".into(),
            password: "p:q".into(),
        };
        for config in [&modern, &old] {
            let only = |registry: &str| config.candidates(registry, "x").next().cloned();
            assert_eq!(only("a.example"), Some(basic.clone()));
            assert_eq!(only("b.example"), Some(basic.clone()));
            assert_eq!(
                only("c.example"),
                Some(Credential::IdentityToken("refresh".into()))
            );
            assert_eq!(
                only("d.example"),
                Some(Credential::IdentityToken("refresh".into()))
            );
            assert_eq!(
                only("e.example"),
                Some(Credential::RegistryToken("bearer".into()))
            );
            assert_eq!(only("f.example"), None);
            assert_eq!(only("g.example"), None);
        }
        assert_eq!(modern.helper("h.example"), Some("ecr-login"));
        assert_eq!(modern.helper("x.example"), Some("desktop"));
        assert_eq!(old.helper("x.example"), None);
    }

    #[test]
    fn nothing_secret_is_told() {
        let config = DockerConfig::parse_json(
            json!({"auths": {"a": {"username": "u", "password": "hunter2"}}})
                .to_string()
                .as_bytes(),
        );
        assert!(!format!("{config:?}").contains("hunter2"));
        let broken = DockerConfig::parse_json(br#"{"auths": {"a": "hunter2"}}"#).unwrap_err();
        assert!(!broken.to_string().contains("hunter2"), "{broken}");
        let large = vec![b' '; MAX_DOCUMENT + 1];
        assert_eq!(DockerConfig::parse_cfg(&large), Err(ConfigError::TooLarge));
    }
}
