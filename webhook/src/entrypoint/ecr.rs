//! Passwords for Amazon's private registries: STS `AssumeRoleWithWebIdentity` with the token of
//! our own service account (IRSA), then ECR `GetAuthorizationToken`. Two calls of documented
//! APIs; the AWS SDK would bring over a hundred crates for them.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use serde::Deserialize;
use tokio::sync::Mutex;

use super::distribution::encoded;
use super::docker_config::Credential;
use super::http::Http;
use super::sigv4::{Keys, Signing, amz_date};
use super::url::Url;

/// Largest answer of either service.
const MAX_ANSWER: usize = 64 << 10;
/// A password is not used any more this long before it ends.
const MARGIN: Duration = Duration::from_secs(600);
/// How long a failure is not asked about again.
const RETRY: Duration = Duration::from_secs(15);

/// What AWS' own tools read from the environment.
#[derive(Clone, Default)]
pub struct AwsEnvironment {
    /// `AWS_ROLE_ARN`.
    pub role_arn: Option<String>,
    /// `AWS_WEB_IDENTITY_TOKEN_FILE`.
    pub token_file: Option<PathBuf>,
    /// `AWS_REGION`, or `AWS_DEFAULT_REGION`.
    pub region: Option<String>,
    /// `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and, if there is one, `AWS_SESSION_TOKEN`.
    pub keys: Option<Keys>,
    /// `AWS_ENDPOINT_URL_STS`: instead of the region's own.
    pub sts_endpoint: Option<String>,
    /// `AWS_ENDPOINT_URL_ECR`: instead of the region's own.
    pub ecr_endpoint: Option<String>,
}

impl fmt::Debug for AwsEnvironment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwsEnvironment")
            .field("role_arn", &self.role_arn)
            .field("token_file", &self.token_file)
            .field("region", &self.region)
            .field("keys", &self.keys.is_some())
            .finish()
    }
}

impl AwsEnvironment {
    /// Reads it; `variable` is the environment.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Self {
        let said = |name: &str| variable(name).filter(|value| !value.is_empty());
        let keys = said("AWS_ACCESS_KEY_ID").and_then(|access_key| {
            Some(Keys {
                access_key,
                secret_key: said("AWS_SECRET_ACCESS_KEY")?,
                session_token: said("AWS_SESSION_TOKEN"),
            })
        });
        Self {
            role_arn: said("AWS_ROLE_ARN"),
            token_file: said("AWS_WEB_IDENTITY_TOKEN_FILE").map(PathBuf::from),
            region: said("AWS_REGION").or_else(|| said("AWS_DEFAULT_REGION")),
            keys,
            sts_endpoint: said("AWS_ENDPOINT_URL_STS"),
            ecr_endpoint: said("AWS_ENDPOINT_URL_ECR"),
        }
    }

    /// Whether it holds anything to authenticate with.
    pub fn is_usable(&self) -> bool {
        self.keys.is_some() || (self.role_arn.is_some() && self.token_file.is_some())
    }
}

/// Why there is no password for a registry of Amazon's. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EcrError {
    /// The token of our service account is not to be read.
    #[error("the web identity token cannot be read: {0}")]
    Token(String),
    /// A service cannot be asked.
    #[error("{service}: {detail}")]
    Service {
        /// `STS` or `ECR`.
        service: &'static str,
        /// What happened.
        detail: String,
    },
}

/// Passwords for Amazon's private registries, kept while they last.
#[derive(Debug)]
pub struct Ecr {
    http: Arc<Http>,
    environment: AwsEnvironment,
    passwords: Mutex<HashMap<Registry, Kept>>,
}

#[derive(Debug)]
struct Kept {
    answer: Result<Credential, EcrError>,
    until: SystemTime,
}

/// Where a registry of Amazon's is. One password is good for all accounts of a region.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Registry {
    region: String,
    suffix: &'static str,
    fips: bool,
}

impl Registry {
    /// Reads a registry's host; `None` when it is not one of Amazon's private ones.
    fn parse(host: &str) -> Option<Self> {
        let host = host.split(':').next()?;
        let (host, suffix) = [".amazonaws.com", ".amazonaws.com.cn", ".on.aws"]
            .iter()
            .find_map(|suffix| Some((host.strip_suffix(suffix)?, *suffix)))?;
        let (account, rest) = host.split_once('.')?;
        let digits = |byte: u8| byte.is_ascii_digit();
        if account.len() != 12 || !account.bytes().all(digits) {
            return None;
        }
        let (service, region) = rest.rsplit_once('.')?;
        let (fips, dual_stack) = match service {
            "dkr.ecr" => (false, false),
            "dkr.ecr-fips" => (true, false),
            "dkr-ecr" => (false, true),
            "dkr-ecr-fips" => (true, true),
            _ => return None,
        };
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if region.is_empty() || !region.bytes().all(plain) || dual_stack != (suffix == ".on.aws") {
            return None;
        }
        Some(Self {
            region: region.to_owned(),
            // The APIs of both kinds of name are the same.
            suffix: if dual_stack { ".amazonaws.com" } else { suffix },
            fips,
        })
    }
}

impl Ecr {
    /// With what the environment says.
    pub fn new(http: Arc<Http>, environment: AwsEnvironment) -> Self {
        Self {
            http,
            environment,
            passwords: Mutex::default(),
        }
    }

    /// The password for a registry (host, and port if there is one); `None` when it is not one
    /// of Amazon's.
    ///
    /// # Errors
    /// [`EcrError`].
    pub async fn credential(&self, host: &str) -> Option<Result<Credential, EcrError>> {
        let registry = Registry::parse(host)?;
        // Held while asking: who comes meanwhile waits for the same answer.
        let mut passwords = self.passwords.lock().await;
        let now = SystemTime::now();
        if let Some(kept) = passwords.get(&registry).filter(|kept| kept.until > now) {
            return Some(kept.answer.clone());
        }
        let (answer, until) = match self.ask(&registry).await {
            Ok((credential, expires)) => (Ok(credential), expires - MARGIN),
            Err(error) => (Err(error), now + RETRY),
        };
        let kept = Kept {
            answer: answer.clone(),
            until,
        };
        passwords.insert(registry, kept);
        Some(answer)
    }

    async fn ask(&self, registry: &Registry) -> Result<(Credential, SystemTime), EcrError> {
        let keys = match &self.environment.keys {
            Some(keys) => keys.clone(),
            None => self.assume_role(registry).await?,
        };
        let own = format!(
            "https://{}.{}{}",
            if registry.fips { "ecr-fips" } else { "api.ecr" },
            registry.region,
            registry.suffix
        );
        let endpoint = self.environment.ecr_endpoint.as_deref().unwrap_or(&own);
        let failed = |detail: String| EcrError::Service {
            service: "ECR",
            detail,
        };
        let url = Url::parse(endpoint, self.http.guard()).map_err(|why| failed(why.to_owned()))?;
        let host = url.origin.authority();
        let date = amz_date(SystemTime::now());
        let body = b"{}";
        let mut headers = vec![
            ("content-type", "application/x-amz-json-1.1".to_owned()),
            ("host", host),
            ("x-amz-date", date.clone()),
            (
                "x-amz-target",
                "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken".to_owned(),
            ),
        ];
        if let Some(token) = &keys.session_token {
            headers.insert(3, ("x-amz-security-token", token.clone()));
        }
        let signing = Signing {
            method: "POST",
            path: "/",
            query: "",
            headers: &headers,
            body,
            region: &registry.region,
            service: "ecr",
            date: &date,
        };
        headers.push(("authorization", signing.authorization(&keys)));
        let answer = self
            .post(&url, &headers, Bytes::from_static(body))
            .await
            .map_err(failed)?;
        let answer: Authorization = serde_json::from_slice(&answer)
            .map_err(|_| failed("the answer holds no token".into()))?;
        let data = answer.authorization_data.into_iter().next();
        let data = data.ok_or_else(|| failed("the answer holds no token".into()))?;
        let text = STANDARD.decode(&data.authorization_token).ok();
        let text = text.and_then(|bytes| String::from_utf8(bytes).ok());
        let pair = text.as_deref().and_then(|text| text.split_once(':'));
        let (username, password) = pair.ok_or_else(|| failed("the token is none".into()))?;
        let seconds = data.expires_at.clamp(0.0, 1e11);
        let credential = Credential::Basic {
            username: username.to_owned(),
            password: password.to_owned(),
        };
        Ok((credential, UNIX_EPOCH + Duration::from_secs_f64(seconds)))
    }

    async fn assume_role(&self, registry: &Registry) -> Result<Keys, EcrError> {
        let failed = |detail: String| EcrError::Service {
            service: "STS",
            detail,
        };
        let (Some(role), Some(file)) = (&self.environment.role_arn, &self.environment.token_file)
        else {
            return Err(failed("there is no role to assume".to_owned()));
        };
        let token = tokio::fs::read_to_string(file)
            .await
            .map_err(|error| EcrError::Token(error.to_string()))?;
        let region = self
            .environment
            .region
            .as_deref()
            .unwrap_or(&registry.region);
        let own = format!("https://sts.{region}{}", registry.suffix);
        let endpoint = self.environment.sts_endpoint.as_deref().unwrap_or(&own);
        let url = Url::parse(endpoint, self.http.guard()).map_err(|why| failed(why.to_owned()))?;
        let form = encoded(&[
            ("Action", "AssumeRoleWithWebIdentity"),
            ("Version", "2011-06-15"),
            ("RoleArn", role),
            ("RoleSessionName", "picket"),
            ("WebIdentityToken", token.trim()),
        ]);
        let headers = [(
            "content-type",
            "application/x-www-form-urlencoded".to_owned(),
        )];
        let answer = self
            .post(&url, &headers, form.into())
            .await
            .map_err(failed)?;
        let answer = String::from_utf8_lossy(&answer);
        let element = |name: &str| {
            let (_, rest) = answer.split_once(&format!("<{name}>"))?;
            let (value, _) = rest.split_once(&format!("</{name}>"))?;
            Some(value.trim().to_owned()).filter(|value| !value.is_empty())
        };
        let keys = || {
            Some(Keys {
                access_key: element("AccessKeyId")?,
                secret_key: element("SecretAccessKey")?,
                session_token: Some(element("SessionToken")?),
            })
        };
        keys().ok_or_else(|| failed("the answer holds no credentials".to_owned()))
    }

    /// The body of a good answer; of a bad one the error's code, which is no secret.
    async fn post(
        &self,
        url: &Url,
        headers: &[(&'static str, String)],
        body: Bytes,
    ) -> Result<Bytes, String> {
        let mut all = Vec::new();
        for (name, value) in headers.iter().filter(|(name, _)| *name != "host") {
            let mut value = HeaderValue::from_str(value).map_err(|_| format!("{name} is odd"))?;
            value.set_sensitive(*name != CONTENT_TYPE.as_str());
            all.push((HeaderName::from_static(name), value));
        }
        let mut session = self.http.session();
        let answer = session
            .send(Method::POST, url, &all, body, MAX_ANSWER)
            .await
            .map_err(|error| error.to_string())?;
        if answer.status == StatusCode::OK {
            return Ok(answer.body);
        }
        let text = String::from_utf8_lossy(&answer.body);
        let code = text
            .split_once("<Code>")
            .and_then(|(_, rest)| rest.split_once("</Code>"))
            .map(|(code, _)| code.to_owned())
            .or_else(|| {
                let error: ErrorAnswer = serde_json::from_str(&text).ok()?;
                Some(error.kind)
            })
            .unwrap_or_default();
        let code: String = code
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .take(64)
            .collect();
        Err(format!("HTTP {} {code}", answer.status.as_u16())
            .trim_end()
            .to_owned())
    }
}

#[derive(Deserialize)]
struct ErrorAnswer {
    #[serde(rename = "__type")]
    kind: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Authorization {
    authorization_data: Vec<AuthorizationData>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AuthorizationData {
    authorization_token: String,
    expires_at: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_of_amazon_by_table() {
        for (host, expected) in [
            (
                "123456789012.dkr.ecr.eu-west-1.amazonaws.com",
                Some(("eu-west-1", ".amazonaws.com", false)),
            ),
            (
                "123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com",
                Some(("us-gov-west-1", ".amazonaws.com", true)),
            ),
            (
                "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn",
                Some(("cn-north-1", ".amazonaws.com.cn", false)),
            ),
            (
                "123456789012.dkr-ecr.eu-west-1.on.aws",
                Some(("eu-west-1", ".amazonaws.com", false)),
            ),
            (
                "123456789012.dkr.ecr.eu-west-1.amazonaws.com:5000",
                Some(("eu-west-1", ".amazonaws.com", false)),
            ),
            ("12345678901.dkr.ecr.eu-west-1.amazonaws.com", None),
            (
                "123456789012.dkr.ecr.eu-west-1.amazonaws.com.evil.example",
                None,
            ),
            ("123456789012.dkr.ecr.evil.example/.amazonaws.com", None),
            ("123456789012.dkr.ecr..amazonaws.com", None),
            ("123456789012.dkr.ecr.eu-west-1.on.aws", None),
            ("public.ecr.aws", None),
            ("docker.io", None),
        ] {
            let found = Registry::parse(host);
            let found = found
                .as_ref()
                .map(|found| (found.region.as_str(), found.suffix, found.fips));
            assert_eq!(found, expected, "{host}");
        }
    }
}
