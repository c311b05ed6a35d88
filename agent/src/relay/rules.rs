//! From a bundle's bytes to rules in use: all of it or nothing.

use std::sync::Arc;

use picket_events::relay::{RuleBundle, VERSION};
use picket_rules::{Status, bundle};
use ring::digest::{SHA256, digest};

use crate::pipeline::LoadedRules;

/// Why a bundle is not taken into use.
#[derive(Debug, thiserror::Error)]
pub enum BadBundle {
    /// The bytes are others than were ordered.
    #[error("its SHA-256 is {0}")]
    Hash(String),
    /// It is no bundle.
    #[error("it is malformed: {0}")]
    Malformed(#[from] serde_json::Error),
    /// A newer operator made it.
    #[error("it is of version {0}, and this agent knows {VERSION}")]
    Version(u32),
    /// Nothing in it can be used.
    #[error("no rule of it can be used; the first error: {0}")]
    Useless(String),
}

/// Loads the bundle with this hash.
///
/// # Errors
/// [`BadBundle`]; what was in use before stays so.
pub fn load(hash: &str, bytes: &[u8]) -> Result<LoadedRules, BadBundle> {
    let actual: String = digest(&SHA256, bytes)
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    if actual != hash {
        return Err(BadBundle::Hash(actual));
    }
    let parsed: RuleBundle = serde_json::from_slice(bytes)?;
    if parsed.version > VERSION {
        return Err(BadBundle::Version(parsed.version));
    }
    let (rules, report) = bundle::load(&parsed);
    let mut own = report
        .policies
        .iter()
        .filter(|policy| policy.origin == bundle::ORIGIN);
    // A wrong rule is left out and reported; a bundle of nothing but wrong ones would leave the
    // pod with less than it has.
    if !parsed.policies.is_empty() && own.all(|policy| policy.status == Status::Error) {
        let first = report
            .errors()
            .map(|(name, error)| format!("{name}:{error}"))
            .next();
        return Err(BadBundle::Useless(first.unwrap_or_default()));
    }
    Ok(LoadedRules {
        rules: Arc::new(rules),
        report,
    })
}

#[cfg(test)]
mod tests {
    use picket_events::relay::NamedText;

    use super::*;

    fn packed(text: &str, version: u32) -> (String, Vec<u8>) {
        let bundle = RuleBundle {
            version,
            policies: vec![NamedText {
                name: "own/own.policy".to_owned(),
                text: text.to_owned(),
            }],
            ..RuleBundle::default()
        };
        let bytes = serde_json::to_vec(&bundle).unwrap();
        let hash = digest(&SHA256, &bytes);
        let hash = hash.as_ref().iter().map(|byte| format!("{byte:02x}"));
        (hash.collect(), bytes)
    }

    const GOOD: &str = "rules:\n- id: own\n  expression: exec.file.name == \"nc\"\n";
    const BAD: &str = "rules:\n- id: own\n  expression: exec.\n";

    #[test]
    fn all_of_a_bundle_or_nothing() {
        let (hash, bytes) = packed(GOOD, VERSION);
        let loaded = load(&hash, &bytes).unwrap();
        assert!(loaded.rules.rules().iter().any(|rule| rule.id == "own"));
        let cut = load(&hash, &bytes[..bytes.len() - 1]).unwrap_err();
        assert!(matches!(cut, BadBundle::Hash(_)), "{cut}");
        let (hash, bytes) = packed(GOOD, VERSION + 1);
        let newer = load(&hash, &bytes).unwrap_err();
        assert!(matches!(newer, BadBundle::Version(_)), "{newer}");
        let (hash, bytes) = packed(BAD, VERSION);
        let useless = load(&hash, &bytes).unwrap_err();
        assert!(matches!(useless, BadBundle::Useless(_)), "{useless}");
    }
}
