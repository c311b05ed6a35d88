//! Why what an image runs is not known.

use std::fmt;

macro_rules! causes {
    ($($(#[doc = $doc:literal])+ $name:ident: $text:literal;)+) => {
        /// Why what an image runs is not known: details of the reason `EntrypointUnresolved`.
        /// The words are stable, like those of [`crate::Reason`]: the same in metric labels,
        /// logs, warnings and the command line.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Cause {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Cause {
            /// All of them, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// The stable word.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),+ }
            }

            /// A few words for people.
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $text),+ }
            }
        }
    };
}

causes! {
    /// The policy has `entrypoint.resolve: SpecOnly`.
    NotAsked: "the policy has entrypoint.resolve: SpecOnly";
    /// The image reference is not one.
    InvalidReference: "not an image reference";
    /// The registry does not have the image, or hides it from these credentials.
    ImageNotFound: "the registry does not have this image";
    /// The registry wants other credentials than those that were tried.
    Unauthorized: "the registry wants other credentials";
    /// The index has no image for the pod's platform.
    NoPlatform: "the image does not exist for the platform";
    /// No answer within the time there is for an admission request.
    TimedOut: "no answer in time; asking goes on, so the next pod may be luckier";
    /// Too many look-ups of the namespace are under way.
    TooManyLookups: "too many look-ups of this namespace are under way";
    /// The registry's name does not exist, or nobody answers there.
    Unreachable: "the registry cannot be reached";
    /// TLS with the registry failed, for example because its authority is not known.
    UntrustedTls: "no trusted TLS with the registry";
    /// The registry asks for patience.
    RateLimited: "the registry refuses because of too many requests";
    /// The registry failed.
    RegistryError: "the registry failed";
    /// The registry, or one that it sends us on to, has an address that is not allowed.
    AddressRefused: "the address is not allowed for registries";
    /// The registry sends us on to where we do not go, or too often.
    RedirectRefused: "the redirect is not allowed";
    /// The registry asks for a token from a host that may not see the credentials.
    TokenHostRefused: "credentials of the registry are not for this token service";
    /// An answer is larger than any honest one.
    TooLarge: "the answer is too large";
    /// An answer is not what its digest promises.
    DigestMismatch: "the content does not have the promised digest";
    /// An answer is not what the protocol says.
    InvalidAnswer: "the answer is not understood";
}

/// Why what an image runs is not known. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unresolved {
    /// Why, in one word.
    pub cause: Cause,
    /// What was tried and what came back.
    pub detail: String,
}

impl Unresolved {
    /// With what was tried.
    pub fn new(cause: Cause, detail: impl Into<String>) -> Self {
        Self {
            cause,
            detail: detail.into(),
        }
    }
}

impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.cause.word(), self.cause.text())?;
        if self.detail.is_empty() {
            Ok(())
        } else {
            write!(f, ": {}", self.detail)
        }
    }
}

impl std::error::Error for Unresolved {}
