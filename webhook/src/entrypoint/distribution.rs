//! The distribution protocol, as far as it takes to learn what an image runs.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::body::Bytes;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::{Method, StatusCode};
use serde::Deserialize;

use super::challenge::Challenge;
use super::docker_config::Credential;
use super::document::{Content, MANIFEST_TYPES, Manifest, choose, parse_config, sha256, verify};
use super::http::{Answer, Session};
use super::reference::{api_host, is_authority, is_digest};
use super::url::{Origin, Url};
use super::{Cause, ImageConfig, Platform, Unresolved};

/// Largest manifest or index; honest ones take a few hundred KiB at most.
const MAX_MANIFEST: usize = 2 << 20;
/// Largest image configuration; most of it is history.
const MAX_CONFIG: usize = 2 << 20;
/// Largest answer of a token service.
const MAX_TOKEN: usize = 64 << 10;
/// Redirects that are followed for one document.
const MAX_REDIRECTS: usize = 5;

/// One repository of one registry, asked with one credential.
pub(super) struct Repository<'a> {
    session: &'a mut Session,
    origin: Origin,
    name: &'a str,
    credential: Option<&'a Credential>,
    authorization: Option<HeaderValue>,
}

#[derive(Deserialize)]
struct Token {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
}

impl<'a> Repository<'a> {
    /// The repository `name` of a registry (host, and port if there is one).
    ///
    /// # Errors
    /// [`Cause::InvalidReference`].
    pub(super) fn new(
        session: &'a mut Session,
        registry: &str,
        name: &'a str,
        credential: Option<&'a Credential>,
    ) -> Result<Self, Unresolved> {
        let authority = api_host(registry);
        let scheme = if session.guard().is_plain(authority) {
            "http"
        } else {
            "https"
        };
        let url = Url::parse(&format!("{scheme}://{authority}/"), session.guard());
        let url = url.ok().filter(|_| is_authority(authority));
        let invalid = || Unresolved::new(Cause::InvalidReference, "the registry is not a host");
        Ok(Self {
            origin: url.ok_or_else(invalid)?.origin,
            session,
            name,
            credential,
            authorization: None,
        })
    }

    /// What the image with this tag or digest runs. `known` is what was found before: if the
    /// tag still has that digest, nothing more is asked.
    ///
    /// # Errors
    /// [`Unresolved`].
    pub(super) async fn image(
        &mut self,
        selector: &str,
        platform: &Platform,
        known: Option<&Arc<ImageConfig>>,
        config_of: impl Fn(&str) -> Option<Arc<ImageConfig>>,
    ) -> Result<(Arc<ImageConfig>, String), Unresolved> {
        let path = format!("manifests/{selector}");
        if let Some(known) = known.filter(|_| !is_digest(selector)) {
            // Docker Hub does not count these against anybody's limit.
            let head = self.document(Method::HEAD, &path, 0).await;
            let digest = head.as_ref().ok().and_then(digest_header);
            if digest == Some(&known.digest) {
                return Ok((Arc::clone(known), String::new()));
            }
        }
        let answer = self.document(Method::GET, &path, MAX_MANIFEST).await?;
        let digest = if is_digest(selector) {
            verify(&answer.body, selector)?;
            selector.to_owned()
        } else {
            if let Some(said) = digest_header(&answer).filter(|said| is_digest(said)) {
                verify(&answer.body, said)?;
                said.to_owned()
            } else {
                sha256(&answer.body)
            }
        };
        let manifest = Manifest::parse(&answer.body)?;
        // Gives its room back before more is asked for.
        drop(answer);
        let config = match manifest {
            Manifest::Image(config) => config,
            Manifest::Index(index) => {
                let chosen = choose(&index, platform)?;
                let path = format!("manifests/{}", chosen.digest);
                match Manifest::parse(&self.content(&path, chosen, MAX_MANIFEST).await?)? {
                    Manifest::Image(config) => config,
                    Manifest::Index(_) => {
                        let detail = "an index in an index";
                        return Err(Unresolved::new(Cause::InvalidAnswer, detail));
                    }
                }
            }
        };
        if let Some(known) = config_of(&config.digest) {
            let mut known = Arc::unwrap_or_clone(known);
            known.digest = digest;
            return Ok((known.into(), config.digest));
        }
        let path = format!("blobs/{}", config.digest);
        let bytes = self.content(&path, &config, MAX_CONFIG).await?;
        Ok((parse_config(&bytes, &digest)?.into(), config.digest))
    }

    /// Content that is known by its digest.
    async fn content(
        &mut self,
        path: &str,
        content: &Content,
        limit: usize,
    ) -> Result<Bytes, Unresolved> {
        let size = usize::try_from(content.size).unwrap_or(usize::MAX);
        if size > limit {
            let detail = format!("{path}: {size} bytes, more than {limit}");
            return Err(Unresolved::new(Cause::TooLarge, detail));
        }
        // A registry that sends more than it announced is cut off at once.
        let body = self.document(Method::GET, path, size).await?.body;
        verify(&body, &content.digest)?;
        Ok(body)
    }

    /// A document of this repository, with authentication and redirects seen to.
    async fn document(
        &mut self,
        method: Method,
        path: &str,
        limit: usize,
    ) -> Result<Answer, Unresolved> {
        let mut url = Url {
            origin: self.origin.clone(),
            path: format!("/v2/{}/{path}", self.name),
        };
        let mut authenticated = self.authorization.is_some();
        let mut redirects = 0;
        loop {
            let mut headers = vec![(ACCEPT, HeaderValue::from_static(MANIFEST_TYPES))];
            // Only ever to the registry itself: a redirect has its own signature, if any.
            if url.origin == self.origin {
                headers.extend(
                    self.authorization
                        .clone()
                        .map(|value| (AUTHORIZATION, value)),
                );
            }
            let small = limit.max(MAX_TOKEN);
            let answer = self
                .session
                .send(method.clone(), &url, &headers, Bytes::new(), small)
                .await?;
            match answer.status {
                StatusCode::OK if answer.body.len() > limit => {
                    let detail = format!("{url}: more than {limit} bytes");
                    return Err(Unresolved::new(Cause::TooLarge, detail));
                }
                StatusCode::OK => return Ok(answer),
                StatusCode::UNAUTHORIZED if !authenticated && url.origin == self.origin => {
                    let challenge = answer.header("www-authenticate").and_then(Challenge::parse);
                    self.authenticate(challenge).await?;
                    authenticated = true;
                }
                status if status.is_redirection() => {
                    redirects += 1;
                    let refused = |why: &str| {
                        Unresolved::new(Cause::RedirectRefused, format!("from {url}: {why}"))
                    };
                    if redirects > MAX_REDIRECTS {
                        return Err(refused("too many"));
                    }
                    let location = answer
                        .header("location")
                        .ok_or_else(|| refused("to nowhere"))?;
                    url = url.join(location, self.session.guard()).map_err(refused)?;
                }
                status => return Err(failure(status, &url)),
            }
        }
    }

    async fn authenticate(&mut self, challenge: Option<Challenge>) -> Result<(), Unresolved> {
        let unauthorized = |detail: &str| Err(Unresolved::new(Cause::Unauthorized, detail));
        self.authorization = match (challenge, self.credential) {
            (_, Some(Credential::RegistryToken(token))) => {
                Some(secret(&format!("Bearer {token}"))?)
            }
            (Some(Challenge::Basic), Some(Credential::Basic { username, password })) => {
                Some(basic(username, password)?)
            }
            (Some(Challenge::Basic), Some(Credential::IdentityToken(_))) => {
                return unauthorized("the registry takes no identity tokens");
            }
            (Some(Challenge::Basic), None) => return unauthorized("the registry wants a password"),
            (
                Some(Challenge::Bearer {
                    realm,
                    service,
                    scope,
                }),
                _,
            ) => {
                let scope = scope.unwrap_or_else(|| format!("repository:{}:pull", self.name));
                let token = self.token(&realm, service.as_deref(), &scope).await?;
                Some(secret(&format!("Bearer {token}"))?)
            }
            (None, _) => return unauthorized("the registry does not say how to authenticate"),
        };
        Ok(())
    }

    /// A token of the token service that the registry names.
    async fn token(
        &mut self,
        realm: &str,
        service: Option<&str>,
        scope: &str,
    ) -> Result<String, Unresolved> {
        let refused = |why: String| Unresolved::new(Cause::TokenHostRefused, why);
        let mut url = Url::parse(realm, self.session.guard())
            .map_err(|why| refused(format!("the token service's URL: {why}")))?;
        let may_see = self
            .session
            .guard()
            .may_see_credentials(&url.origin.host, &self.origin.host);
        if self.credential.is_some() && !may_see {
            return Err(refused(format!(
                "{} for {}",
                url.origin.host, self.origin.host
            )));
        }
        let mut query: Vec<(&str, &str)> = service
            .map(|service| ("service", service))
            .into_iter()
            .collect();
        query.push(("scope", scope));
        let mut headers = Vec::new();
        let (method, body) = if let Some(Credential::IdentityToken(token)) = self.credential {
            query.extend([
                ("grant_type", "refresh_token"),
                ("client_id", "picket"),
                ("refresh_token", token),
            ]);
            let form = HeaderValue::from_static("application/x-www-form-urlencoded");
            headers.push((CONTENT_TYPE, form));
            (Method::POST, encoded(&query))
        } else {
            if let Some(Credential::Basic { username, password }) = self.credential {
                headers.push((AUTHORIZATION, basic(username, password)?));
            }
            let separator = if url.path.contains('?') { '&' } else { '?' };
            url.path.push(separator);
            url.path.push_str(&encoded(&query));
            (Method::GET, String::new())
        };
        let answer = self
            .session
            .send(method, &url, &headers, body.into(), MAX_TOKEN)
            .await?;
        if answer.status.is_redirection() {
            let detail = format!("from the token service {url}: none is followed");
            return Err(Unresolved::new(Cause::RedirectRefused, detail));
        }
        if answer.status != StatusCode::OK {
            return Err(failure(answer.status, &url));
        }
        // Neither the answer nor the parser's message is told: both may hold the token.
        let invalid = || Unresolved::new(Cause::InvalidAnswer, format!("{url}: no token"));
        let token: Token = serde_json::from_slice(&answer.body).map_err(|_| invalid())?;
        let token = token.token.or(token.access_token);
        token.filter(|token| !token.is_empty()).ok_or_else(invalid)
    }
}

fn digest_header(answer: &Answer) -> Option<&str> {
    answer.header("docker-content-digest")
}

fn failure(status: StatusCode, url: &Url) -> Unresolved {
    let cause = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Cause::Unauthorized,
        StatusCode::NOT_FOUND => Cause::ImageNotFound,
        StatusCode::TOO_MANY_REQUESTS => Cause::RateLimited,
        status if status.is_server_error() => Cause::RegistryError,
        _ => Cause::InvalidAnswer,
    };
    Unresolved::new(cause, format!("{url}: HTTP {}", status.as_u16()))
}

/// A header's value that is not logged.
fn secret(text: &str) -> Result<HeaderValue, Unresolved> {
    let mut value = HeaderValue::from_str(text)
        .map_err(|_| Unresolved::new(Cause::Unauthorized, "the credentials hold odd characters"))?;
    value.set_sensitive(true);
    Ok(value)
}

fn basic(username: &str, password: &str) -> Result<HeaderValue, Unresolved> {
    secret(&format!(
        "Basic {}",
        STANDARD.encode(format!("{username}:{password}"))
    ))
}

/// `application/x-www-form-urlencoded`, which serves as a query too.
pub(super) fn encoded(pairs: &[(&str, &str)]) -> String {
    let pairs = pairs
        .iter()
        .map(|(name, value)| format!("{name}={}", percent(value)));
    pairs.collect::<Vec<_>>().join("&")
}

/// Everything but unreserved characters (RFC 3986) as `%XX`.
pub(super) fn percent(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
        encoded
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_cannot_be_broken_out_of() {
        assert_eq!(
            encoded(&[("service", "a&b=c"), ("scope", "repository:a/b:pull\r\n")]),
            "service=a%26b%3Dc&scope=repository%3Aa%2Fb%3Apull%0D%0A"
        );
    }

    #[test]
    fn credentials_that_are_no_header_are_refused() {
        let error = secret("Bearer a\nb").unwrap_err();
        assert_eq!(error.cause, Cause::Unauthorized);
        assert!(format!("{:?}", basic("u", "hunter2")).contains("Sensitive"));
    }
}
