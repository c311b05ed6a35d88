//! The one field of the webhook configuration that is ours: `caBundle`.
//!
//! The chart owns the MutatingWebhookConfiguration and leaves `caBundle` out;
//! the operator owns just that field of each entry by server-side apply under
//! a field manager of its own, so neither Helm nor a GitOps tool sees a
//! difference, and we never overwrite what they set.

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

/// The field manager that owns `caBundle`.
pub const FIELD_MANAGER: &str = "picket-ca";

/// Whether every entry's `caBundle` is exactly `trust` (PEM).
#[must_use]
pub fn is_published(configuration: &MutatingWebhookConfiguration, trust: &str) -> bool {
    every_bundle(configuration, |bundle| bundle == trust.as_bytes())
}

/// Whether every entry's `caBundle` holds `authority` (PEM of one
/// certificate), so that API servers trust what it signed.
#[must_use]
pub fn trusts(configuration: &MutatingWebhookConfiguration, authority: &str) -> bool {
    let authority = authority.trim();
    every_bundle(configuration, |bundle| {
        std::str::from_utf8(bundle).is_ok_and(|bundle| bundle.contains(authority))
    })
}

/// The certificates (PEM) of all entries' `caBundle`s, one after the other.
#[must_use]
pub fn published(configuration: &MutatingWebhookConfiguration) -> String {
    let mut all = String::new();
    for entry in configuration.webhooks.iter().flatten() {
        let bundle = entry.client_config.ca_bundle.as_ref();
        if let Some(Ok(bundle)) = bundle.map(|bundle| std::str::from_utf8(&bundle.0))
            && !all.contains(bundle)
        {
            all.push_str(bundle.trim());
            all.push('\n');
        }
    }
    all
}

fn every_bundle(
    configuration: &MutatingWebhookConfiguration,
    holds: impl Fn(&[u8]) -> bool,
) -> bool {
    let entries = configuration.webhooks.as_deref().unwrap_or_default();
    !entries.is_empty()
        && entries.iter().all(|entry| {
            let bundle = entry.client_config.ca_bundle.as_ref();
            bundle.is_some_and(|bundle| holds(&bundle.0))
        })
}

/// The apply configuration that sets every existing entry's `caBundle`. An
/// entry that does not exist is not named: applying it would try to create an
/// incomplete one.
#[must_use]
pub fn apply_configuration(configuration: &MutatingWebhookConfiguration, trust: &str) -> Value {
    let trust = ByteString(trust.as_bytes().to_vec());
    let entries: Vec<Value> = configuration
        .webhooks
        .iter()
        .flatten()
        .map(|entry| json!({"name": entry.name, "clientConfig": {"caBundle": trust}}))
        .collect();
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": configuration.name_any()},
        "webhooks": entries,
    })
}

/// Publishes `trust` in every entry of the configuration.
///
/// # Errors
/// Whatever the API server answers.
pub async fn publish(
    configurations: &Api<MutatingWebhookConfiguration>,
    configuration: &MutatingWebhookConfiguration,
    trust: &str,
) -> Result<(), kube::Error> {
    // Whoever overwrote the field owns it now: without force we would only
    // get a conflict.
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    let patch = Patch::Apply(apply_configuration(configuration, trust));
    configurations
        .patch_metadata(&configuration.name_any(), &parameters, &patch)
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "-----BEGIN CERTIFICATE-----\nb2xk\n-----END CERTIFICATE-----\n";
    const NEW: &str = "-----BEGIN CERTIFICATE-----\nbmV3\n-----END CERTIFICATE-----\n";

    fn configuration(bundles: &[Option<&str>]) -> MutatingWebhookConfiguration {
        let entries: Vec<Value> = bundles
            .iter()
            .enumerate()
            .map(|(index, bundle)| {
                let mut client =
                    json!({"service": {"name": "picket", "namespace": "picket-system"}});
                if let Some(bundle) = bundle {
                    client["caBundle"] = json!(ByteString(bundle.as_bytes().to_vec()));
                }
                json!({
                    "name": format!("entry{index}.picket.dev"),
                    "clientConfig": client,
                    "sideEffects": "NoneOnDryRun",
                    "admissionReviewVersions": ["v1"],
                })
            })
            .collect();
        serde_json::from_value(json!({"metadata": {"name": "zz-picket"}, "webhooks": entries}))
            .expect("configuration")
    }

    #[test]
    fn every_entry_counts() {
        let both = format!("{NEW}{OLD}");
        let cases: [(&str, &[Option<&str>], bool, bool); 7] = [
            ("no entries", &[], false, false),
            ("none set", &[None, None], false, false),
            ("one of two", &[Some(NEW), None], false, false),
            ("both", &[Some(NEW), Some(NEW)], true, true),
            ("other authority", &[Some(OLD), Some(OLD)], false, false),
            ("overlap", &[Some(&both), Some(&both)], false, true),
            ("garbage", &[Some("\u{0}"), Some(NEW)], false, false),
        ];
        for (name, bundles, published, trusted) in cases {
            let configuration = configuration(bundles);
            assert_eq!(is_published(&configuration, NEW), published, "{name}");
            assert_eq!(trusts(&configuration, NEW), trusted, "{name}");
        }
    }

    #[test]
    fn only_names_and_bundles_are_applied() {
        let applied = apply_configuration(&configuration(&[None, Some(OLD)]), "new");
        assert_eq!(
            applied,
            json!({
                "apiVersion": "admissionregistration.k8s.io/v1",
                "kind": "MutatingWebhookConfiguration",
                "metadata": {"name": "zz-picket"},
                "webhooks": [
                    {"name": "entry0.picket.dev", "clientConfig": {"caBundle": "bmV3"}},
                    {"name": "entry1.picket.dev", "clientConfig": {"caBundle": "bmV3"}},
                ],
            })
        );
    }
}
