//! Who runs a command in a container by `kubectl exec`.
//!
//! The operator is asked to admit the command, so it knows the caller. It signs what it knows
//! ([`Claims`]), the tracer that runs the command carries that to the agent as text ([`Token`])
//! without reading it, and the agent checks it. Nothing here knows a key: signing and checking
//! are the operator's and the agent's.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

/// What stands before the claims in what is signed, so that no signature that the key gives for
/// another purpose counts here. It names the encoding of the claims too.
const PURPOSE: &[u8] = b"picket exec session 1\0";

/// Longest token, in bytes of its text.
pub const MAX_TOKEN: usize = 8 * 1024;

/// What the operator says of a session.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The pod that the command runs in.
    pub pod_uid: String,
    /// The container in it.
    pub container: String,
    /// Random; a session is told from others by it, and it is good for one session.
    pub nonce: [u8; 16],
    /// The caller's name, as the API server authenticated it.
    pub username: String,
    /// The caller's uid, empty for most ways of authentication.
    pub uid: String,
    /// The caller's groups.
    pub groups: Vec<String>,
    /// True when groups were left out because there are so many.
    pub groups_truncated: bool,
    /// When this was signed, seconds since the epoch.
    pub issued_at: u64,
    /// When a session may no longer begin with it, seconds since the epoch.
    pub expires_at: u64,
}

impl Claims {
    /// The session's id: the nonce in hexadecimal digits.
    pub fn id(&self) -> String {
        self.nonce
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// The name by which the session's tracer speaks to the agent, behind `container:`.
    pub fn session_name(&self) -> String {
        format!("{SESSION_PREFIX}{}", &self.id()[..16])
    }

    /// What has to be signed.
    ///
    /// # Errors
    /// [`TokenError`] when the claims cannot be encoded.
    pub fn to_signed(&self) -> Result<SignedPart, TokenError> {
        let payload = postcard::to_allocvec(self).map_err(|_| TokenError)?;
        Ok(SignedPart { payload })
    }
}

/// How the name of such a session begins, behind `container:`.
pub const SESSION_PREFIX: &str = "exec-";

/// Text that is no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a session token")]
pub struct TokenError;

/// Claims as they are signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedPart {
    payload: Vec<u8>,
}

impl SignedPart {
    /// The bytes that a signature is over.
    pub fn message(&self) -> Vec<u8> {
        [PURPOSE, &self.payload].concat()
    }

    /// With the signature over [`Self::message`].
    pub fn with_signature(self, signature: &[u8]) -> Token {
        Token {
            signed: self,
            signature: signature.to_vec(),
        }
    }

    /// The claims. To be believed only after the signature was checked.
    ///
    /// # Errors
    /// [`TokenError`] when they are of another form.
    pub fn claims(&self) -> Result<Claims, TokenError> {
        match postcard::take_from_bytes(&self.payload) {
            Ok((claims, [])) => Ok(claims),
            _ => Err(TokenError),
        }
    }
}

/// Claims and a signature over them. As text: both in base64 for URLs, a dot between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// What is signed.
    pub signed: SignedPart,
    /// The signature, not checked.
    pub signature: Vec<u8>,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [payload, signature] =
            [&self.signed.payload, &self.signature].map(|bytes| URL_SAFE_NO_PAD.encode(bytes));
        write!(f, "{payload}.{signature}")
    }
}

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        if text.len() > MAX_TOKEN {
            return Err(TokenError);
        }
        let (payload, signature) = text.split_once('.').ok_or(TokenError)?;
        let decode = |part| URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError);
        Ok(Self {
            signed: SignedPart {
                payload: decode(payload)?,
            },
            signature: decode(signature)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims() -> Claims {
        Claims {
            pod_uid: "7".into(),
            container: "web".into(),
            nonce: [0xab; 16],
            username: "alice@example.com".into(),
            groups: vec!["developers".into()],
            expires_at: 9,
            ..Claims::default()
        }
    }

    #[test]
    fn a_token_comes_back_from_its_text() {
        let token = claims().to_signed().unwrap().with_signature(&[1; 64]);
        let back: Token = token.to_string().parse().unwrap();
        assert_eq!(back, token);
        assert_eq!(back.signed.claims(), Ok(claims()));
        assert_eq!(claims().session_name(), "exec-abababababababab");
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let long = "A".repeat(MAX_TOKEN);
        for text in ["", ".", "a", "a.b", "AAAA.AAA=", &format!("{long}.AAAA")] {
            let claims = text
                .parse::<Token>()
                .and_then(|token| token.signed.claims());
            assert_eq!(claims, Err(TokenError), "{text:.20}");
        }
        let mut signed = claims().to_signed().unwrap();
        signed.payload.push(0);
        assert_eq!(
            signed.claims(),
            Err(TokenError),
            "something behind the claims"
        );
    }
}
