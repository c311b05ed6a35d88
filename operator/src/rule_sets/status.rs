//! What the operator says of rule sets, and of policies that name them; written by the replica
//! that leads, and only when it changes.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ApiResource, Patch, PatchParams};
use kube::{Api, Client, Resource, ResourceExt};
use picket_crds::{
    ClusterProtectionPolicy, DEFAULT_RULE_SET, NamedText, ProtectionPolicy, ProtectionPolicySpec,
    ProtectionPolicyStatus, RuleSet, RuleSetSpec, RuleSetStatus, conditions,
};
use picket_events::text::counted;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{info, warn};

use super::compile::Compiled;
use super::library::{Entry, Library};
use crate::installation::Installation;
use crate::policies::{Policies, View};
use crate::status::{Statement, Target};

/// The field manager that owns what is written here.
pub const FIELD_MANAGER: &str = "picket-rules";
/// Time in which changes are gathered before they are written.
const DEBOUNCE: Duration = Duration::from_millis(200);
/// Time before another try after an error.
const RETRY: Duration = Duration::from_secs(5);

/// Writes the status of rule sets while this replica leads.
pub struct RuleSetWriter {
    /// Client.
    pub client: Client,
    /// Whether agents can get rule sets at all.
    pub relay: bool,
    /// Whose the RuleSet is that shows the built-in rules.
    pub installation: Installation,
}

impl RuleSetWriter {
    /// Writes whatever changes, for as long as the views live.
    pub async fn run(
        self,
        mut library: View<Library>,
        mut policies: View<Policies>,
        mut leading: watch::Receiver<bool>,
    ) {
        loop {
            let sets = library.borrow_and_update().clone();
            let seen = policies.borrow_and_update().clone();
            let leads = *leading.borrow_and_update();
            let mut complete = true;
            if let (true, Some(sets)) = (leads, sets) {
                complete &= self.write_sets(&sets).await;
                if let Some(seen) = seen {
                    complete &= self.write_policies(&seen, &sets).await;
                }
            }
            let watching = tokio::select! {
                changed = library.changed() => changed.is_ok(),
                changed = policies.changed() => changed.is_ok(),
                changed = leading.changed() => changed.is_ok(),
                () = sleep(RETRY), if !complete => true,
            };
            if !watching {
                return;
            }
            sleep(DEBOUNCE).await;
        }
    }

    async fn write_sets(&self, library: &Arc<Library>) -> bool {
        let mut complete = self.show_built_in(library).await;
        for (name, entry) in &library.sets {
            let before = entry.object.status.clone().unwrap_or_default();
            let status = status_of(entry, &before);
            if status != before {
                complete &= self.write::<RuleSet>(None, name, &json!(status)).await;
            }
        }
        for invalid in &library.invalid {
            let name = invalid.metadata.name.clone().unwrap_or_default();
            let status = RuleSetStatus {
                observed_generation: invalid.metadata.generation,
                conditions: vec![condition(
                    conditions::ACCEPTED,
                    (false, conditions::REASON_INVALID),
                    format!("not in use: {}", invalid.error),
                    invalid.metadata.generation,
                    &[],
                )],
                ..RuleSetStatus::default()
            };
            // What it had before is not known: the API server drops a write that changes nothing
            // but a time, and this one is made only when something changes.
            complete &= self.write::<RuleSet>(None, &name, &json!(status)).await;
        }
        complete
    }

    /// Shows what is built into agents as a RuleSet, and mends it when somebody changed it.
    async fn show_built_in(&self, library: &Library) -> bool {
        let named = |texts: &[picket_events::relay::NamedText]| -> Vec<NamedText> {
            let own = texts.iter().map(|own| NamedText {
                name: own.name.clone(),
                text: own.text.clone(),
            });
            own.collect()
        };
        let content = &library.built_in.content;
        let spec = RuleSetSpec {
            policies: named(&content.policies),
            lists: named(&content.lists),
            config_map: None,
        };
        let shown = library.sets.get(DEFAULT_RULE_SET);
        if shown.is_some_and(|entry| entry.object.spec == spec) {
            return true;
        }
        let owner = match self.installation.of_cluster().await {
            Ok(owner) => owner,
            Err(error) => {
                warn!(%error, "cannot show the built-in rules, trying again");
                return false;
            }
        };
        let sets: Api<RuleSet> = Api::all(self.client.clone());
        let patch = json!({
            "apiVersion": RuleSet::api_version(&()),
            "kind": RuleSet::kind(&()),
            "metadata": {
                "name": DEFAULT_RULE_SET,
                "ownerReferences": owner.as_slice(),
                "labels": {"app.kubernetes.io/managed-by": "picket"},
            },
            "spec": spec,
        });
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        match sets
            .patch(DEFAULT_RULE_SET, &parameters, &Patch::Apply(patch))
            .await
        {
            Ok(_) => {
                info!("the built-in rules are shown as RuleSet `{DEFAULT_RULE_SET}`");
                true
            }
            Err(error) => {
                warn!(%error, "cannot show the built-in rules, trying again");
                false
            }
        }
    }

    async fn write_policies(&self, policies: &Policies, library: &Library) -> bool {
        let mut complete = true;
        for policy in &policies.valid {
            let namespace = policy.namespace();
            let change = self.resolved(
                &policy.spec,
                policy.metadata.generation,
                policy.status.as_ref(),
                library,
            );
            if let Some(change) = change {
                let status = json!({"conditions": [change]});
                complete &= self
                    .write::<ProtectionPolicy>(namespace.as_deref(), &policy.name_any(), &status)
                    .await;
            }
        }
        for policy in &policies.cluster {
            let change = self.resolved(
                &policy.spec.policy,
                policy.metadata.generation,
                policy.status.as_ref(),
                library,
            );
            if let Some(change) = change {
                let status = json!({"conditions": [change]});
                complete &= self
                    .write::<ClusterProtectionPolicy>(None, &policy.name_any(), &status)
                    .await;
            }
        }
        complete
    }

    /// The condition that a policy should have, if it has another.
    fn resolved(
        &self,
        spec: &ProtectionPolicySpec,
        generation: Option<i64>,
        before: Option<&ProtectionPolicyStatus>,
        library: &Library,
    ) -> Option<Condition> {
        let before = &before?.conditions;
        // The first condition that people read is whether the policy is in use at all.
        before
            .iter()
            .find(|condition| condition.type_ == conditions::ACCEPTED)?;
        let (verdict, message) = resolution(spec, library, self.relay);
        let wanted = condition(
            conditions::RULE_SETS_RESOLVED,
            verdict,
            message,
            generation,
            before,
        );
        (!before.contains(&wanted)).then_some(wanted)
    }

    async fn write<K>(
        &self,
        namespace: Option<&str>,
        name: &str,
        status: &serde_json::Value,
    ) -> bool
    where
        K: Resource<DynamicType = ()> + Debug,
    {
        let resource = ApiResource::erase::<K>(&());
        let object = Target {
            resource: &resource,
            namespace,
            name,
            uid: None,
        };
        match object.apply(&self.client, FIELD_MANAGER, status).await {
            Ok(_) => true,
            Err(kube::Error::Api(status)) if status.code == 404 => true,
            Err(error) => {
                let kind = resource.kind;
                warn!(kind, name, %error, "cannot write what is thought of rule sets, trying again");
                false
            }
        }
    }
}

/// Whether what a policy names exists and is without fault, and why not.
fn resolution(
    spec: &ProtectionPolicySpec,
    library: &Library,
    relay: bool,
) -> ((bool, &'static str), String) {
    let own: Vec<&String> = spec
        .rule_sets
        .iter()
        .filter(|name| *name != DEFAULT_RULE_SET)
        .collect();
    let quoted = |names: &[&String]| {
        let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
        names.join(", ")
    };
    if !own.is_empty() && !relay {
        let message = "agents use the built-in rules: the relay, through which they get others, \
                       is off";
        return ((false, conditions::REASON_RELAY_OFF), message.to_owned());
    }
    let (there, missing): (Vec<&String>, Vec<&String>) = own
        .into_iter()
        .partition(|name| library.sets.contains_key(*name));
    if !missing.is_empty() {
        let message = format!(
            "there is no usable RuleSet {}; the others are in use, and the built-in rules where \
             there are none",
            quoted(&missing)
        );
        return ((false, conditions::REASON_RULE_SET_MISSING), message);
    }
    let faulty: Vec<&String> = there
        .into_iter()
        .filter(|name| {
            let compiled = &library.sets[*name].compiled;
            compiled.refused > 0 || compiled.content.missing.is_some()
        })
        .collect();
    if !faulty.is_empty() {
        let message = format!(
            "RuleSet {} has errors, which its status lists; what is right in it is in use",
            quoted(&faulty)
        );
        return ((false, conditions::REASON_RULE_SET_FAULTY), message);
    }
    let message = "every rule set exists and is in use".to_owned();
    ((true, conditions::REASON_RESOLVED), message)
}

fn status_of(entry: &Entry, before: &RuleSetStatus) -> RuleSetStatus {
    let Compiled {
        content,
        hash,
        rules,
        refused,
        errors,
        ..
    } = &*entry.compiled;
    let generation = entry.object.metadata.generation;
    let (verdict, message) = if let Some(missing) = &content.missing {
        let message = format!(
            "there is no ConfigMap `{missing}` in the operator's namespace; the rest is in use"
        );
        ((false, conditions::REASON_CONFIG_MAP_MISSING), message)
    } else if *refused == 0 {
        let message = format!("in use: {}", counted(*rules, "rule", "rules"));
        ((true, conditions::REASON_ACCEPTED), message)
    } else if *rules > 0 || content.lists.len() > errors.len() {
        let message = format!(
            "in use: {}; listed below: {}",
            counted(*rules, "rule", "rules"),
            counted(*refused, "error", "errors")
        );
        ((true, conditions::REASON_PARTLY_ACCEPTED), message)
    } else {
        let message = format!(
            "nothing of it is in use; listed below: {}",
            counted(*refused, "error", "errors")
        );
        ((false, conditions::REASON_INVALID), message)
    };
    let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    RuleSetStatus {
        observed_generation: generation,
        conditions: vec![condition(
            conditions::ACCEPTED,
            verdict,
            message,
            generation,
            &before.conditions,
        )],
        hash: hash.clone(),
        rules: number(*rules),
        refused: number(*refused),
        lists: number(content.lists.len()),
        errors: errors.clone(),
    }
}

/// A condition; its time is kept where its status is that of before.
fn condition(
    kind: &'static str,
    (holds, reason): (bool, &str),
    message: String,
    generation: Option<i64>,
    before: &[Condition],
) -> Condition {
    let said = Statement {
        type_: kind,
        status: if holds { "True" } else { "False" },
        reason: reason.to_owned(),
        message,
    };
    said.condition(generation, before, Timestamp::now())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::compile::Content;
    use super::*;

    fn library(sets: &[(&str, &str)]) -> Library {
        let sets: BTreeMap<String, Entry> = sets
            .iter()
            .map(|(name, text)| {
                let spec: RuleSetSpec = serde_json::from_value(json!({
                    "policies": [{"name": "main.policy", "text": text}],
                }))
                .expect("spec");
                let compiled = Compiled::of(Content::of(name, &spec, &BTreeMap::new()));
                let entry = Entry {
                    object: Arc::new(RuleSet::new(name, spec)),
                    compiled: Arc::new(compiled),
                };
                ((*name).to_owned(), entry)
            })
            .collect();
        Library {
            sets,
            ..Library::default()
        }
    }

    const GOOD: &str = "rules:\n- id: good\n  expression: exec.file.name == \"nc\"\n";
    const BAD: &str = "rules:\n- id: bad\n  expression: exec.\n";

    #[test]
    fn policies_are_told_what_became_of_their_rule_sets() {
        let library = library(&[("good", GOOD), ("bad", BAD)]);
        let reason = |names: &[&str], relay| {
            let spec = ProtectionPolicySpec {
                rule_sets: names.iter().map(|name| (*name).to_owned()).collect(),
                ..ProtectionPolicySpec::default()
            };
            resolution(&spec, &library, relay).0
        };
        assert_eq!(reason(&[], false), (true, "Resolved"));
        assert_eq!(reason(&["default", "good"], true), (true, "Resolved"));
        assert_eq!(reason(&["good"], false), (false, "RelayOff"));
        assert_eq!(reason(&["good", "gone"], true), (false, "RuleSetMissing"));
        assert_eq!(reason(&["bad", "good"], true), (false, "RuleSetFaulty"));
    }

    #[test]
    fn a_status_keeps_its_time_until_it_flips() {
        let library = library(&[("good", GOOD), ("bad", BAD)]);
        let first = status_of(&library.sets["good"], &RuleSetStatus::default());
        assert_eq!(first.conditions[0].status, "True");
        assert_eq!((first.rules, first.refused), (1, 0));
        assert_eq!(status_of(&library.sets["good"], &first), first);
        let bad = status_of(&library.sets["bad"], &first);
        assert_eq!(bad.conditions[0].reason, "Invalid");
        assert_eq!((bad.rules, bad.errors.len()), (0, 1));
    }
}
