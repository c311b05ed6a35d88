//! AWS Signature Version 4, for requests whose whole body is at hand.

use std::time::SystemTime;

use k8s_openapi::jiff::Timestamp;
use ring::digest::{SHA256, digest};
use ring::hmac;

use super::document::hex;

/// Keys of AWS. `Debug` is left out on purpose.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    /// Names the key.
    pub access_key: String,
    /// The key itself.
    pub secret_key: String,
    /// Goes with keys that end.
    pub session_token: Option<String>,
}

/// What is signed.
pub(super) struct Signing<'a> {
    pub(super) method: &'a str,
    /// Encoded already.
    pub(super) path: &'a str,
    /// Encoded and sorted already.
    pub(super) query: &'a str,
    /// Lower-case names, sorted.
    pub(super) headers: &'a [(&'static str, String)],
    pub(super) body: &'a [u8],
    pub(super) region: &'a str,
    pub(super) service: &'a str,
    /// As in `x-amz-date`.
    pub(super) date: &'a str,
}

impl Signing<'_> {
    /// The `Authorization` header.
    pub(super) fn authorization(&self, keys: &Keys) -> String {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| *name).collect();
        let names = names.join(";");
        let headers: String = self
            .headers
            .iter()
            .map(|(name, value)| format!("{name}:{}\n", value.trim()))
            .collect();
        let request = [
            self.method,
            self.path,
            self.query,
            &headers,
            &names,
            &hex(digest(&SHA256, self.body).as_ref()),
        ]
        .join("\n");
        let day = self.date.get(..8).unwrap_or_default();
        let scope = format!("{day}/{}/{}/aws4_request", self.region, self.service);
        let hashed = hex(digest(&SHA256, request.as_bytes()).as_ref());
        let text = ["AWS4-HMAC-SHA256", self.date, &scope, &hashed].join("\n");
        let mut key = format!("AWS4{}", keys.secret_key).into_bytes();
        for part in [day, self.region, self.service, "aws4_request"] {
            key = mac(&key, part.as_bytes());
        }
        let signature = hex(&mac(&key, text.as_bytes()));
        format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
            keys.access_key
        )
    }
}

fn mac(key: &[u8], data: &[u8]) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::sign(&key, data).as_ref().to_vec()
}

/// A time as `x-amz-date` has it: `20150830T123600Z`.
pub(super) fn amz_date(time: SystemTime) -> String {
    let time = Timestamp::try_from(time).unwrap_or(Timestamp::UNIX_EPOCH);
    time.strftime("%Y%m%dT%H%M%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    /// The example of the API's own documentation.
    #[test]
    fn the_published_example() {
        let keys = Keys {
            access_key: "AKIDEXAMPLE".into(),
            secret_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into(),
            session_token: None,
        };
        let headers = [
            (
                "content-type",
                "application/x-www-form-urlencoded; charset=utf-8".to_owned(),
            ),
            ("host", "iam.amazonaws.com".to_owned()),
            ("x-amz-date", "20150830T123600Z".to_owned()),
        ];
        let signing = Signing {
            method: "GET",
            path: "/",
            query: "Action=ListUsers&Version=2010-05-08",
            headers: &headers,
            body: b"",
            region: "us-east-1",
            service: "iam",
            date: "20150830T123600Z",
        };
        assert_eq!(
            signing.authorization(&keys),
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, \
             SignedHeaders=content-type;host;x-amz-date, \
             Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
        );
    }

    #[test]
    fn dates_by_table() {
        for (seconds, expected) in [
            (0, "19700101T000000Z"),
            (951_782_400, "20000229T000000Z"),
            (1_440_938_160, "20150830T123600Z"),
            (1_709_251_199, "20240229T235959Z"),
            (4_102_444_800, "21000101T000000Z"),
        ] {
            assert_eq!(
                amz_date(UNIX_EPOCH + Duration::from_secs(seconds)),
                expected
            );
        }
    }
}
