//! Workloads that injection leaves alone because it kept their pods from starting.

use std::io;

use picket_crds::ProtectionPolicySpec;
use ring::digest::{Context, SHA256};
use serde::Serialize;
use serde_json::Value;

use crate::namespace::Answer;
use crate::policy::Policy;
use crate::settings::Settings;

/// Why a workload is left alone, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suspension {
    /// The [`fingerprint`] of what did not work. Anything else is tried.
    pub holds_for: String,
    /// What happened, for people.
    pub message: String,
}

/// Knows for which workloads injection is suspended: a watch in the operator.
pub trait Suspensions: Send + Sync + 'static {
    /// The suspension of the workload to which pods of this controller belong. `controller` is
    /// the owner reference as the pod has it; the workload may be its owner.
    fn of<'a>(
        &'a self,
        namespace: &'a str,
        controller: &'a Value,
    ) -> Answer<'a, Option<Suspension>>;
}

/// Nothing is suspended.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoSuspensions;

impl Suspensions for NoSuspensions {
    fn of<'a>(&'a self, _: &'a str, _: &'a Value) -> Answer<'a, Option<Suspension>> {
        Box::pin(std::future::ready(None))
    }
}

/// Names what would be injected: image, revision and the policy that wins. A change of any of
/// them may mend what was wrong.
pub fn fingerprint(settings: &Settings, policy: &Policy) -> String {
    let mut hash = Hash(Context::new(&SHA256));
    let decisive = Decisive {
        image: &settings.sidecar_image,
        pull_secrets: &settings.image_pull_secrets,
        revision: &settings.revision,
        policy: policy.key(),
        spec: &policy.spec,
    };
    // Neither the writer fails nor any of these fields.
    let _ = serde_json::to_writer(&mut hash, &decisive);
    let hash = hash.0.finish();
    let mut short = [0; 8];
    short.copy_from_slice(&hash.as_ref()[..8]);
    format!("{:016x}", u64::from_be_bytes(short))
}

/// What decides how a pod is injected.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Decisive<'a> {
    image: &'a str,
    pull_secrets: &'a [String],
    revision: &'a str,
    policy: String,
    spec: &'a ProtectionPolicySpec,
}

/// Takes the sum of what is written: every review needs one, so the text is never kept.
struct Hash(Context);

impl io::Write for Hash {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use picket_crds::Mode;

    use super::*;
    use crate::policy::Scope;

    #[test]
    fn every_part_of_what_is_injected_counts() {
        let settings = Settings::new("sidecar:1", "1");
        let policy = Policy {
            scope: Scope::Namespace("shop".into()),
            name: "all".into(),
            created: Some(1),
            spec: Default::default(),
        };
        let first = fingerprint(&settings, &policy);
        assert_eq!(first, fingerprint(&settings.clone(), &policy.clone()));
        assert_eq!(first.len(), 16);

        let mut image = settings.clone();
        image.sidecar_image = "sidecar:2".into();
        let mut revision = settings.clone();
        revision.revision = "2".into();
        let mut mode = policy.clone();
        mode.spec.mode = Mode::Enforce;
        let mut younger = policy.clone();
        younger.created = Some(2);
        for (settings, policy, same) in [
            (&image, &policy, false),
            (&revision, &policy, false),
            (&settings, &mode, false),
            (&settings, &younger, true),
        ] {
            assert_eq!(first == fingerprint(settings, policy), same);
        }
    }
}
