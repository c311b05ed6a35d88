//! Holds the rights that the chart gives against those that the tests used: `rights_used FOLDER`,
//! where the folder holds the audit logs of their API servers (`PICKET_AUDIT`). A right that no
//! test used and that is not in [`UNUSED`], with its reason, is one that nobody needs, or one that
//! nothing shows to be needed.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, bail};
use picket_tests::kube::helm::chart;
use serde_json::Value;

/// Which files of the chart an account has, and how they are bound.
const ROLES: [(&str, &str, Binding); 12] = [
    ("picket-operator", "clusterrole", Binding::Cluster),
    ("picket-operator", "preflight", Binding::Cluster),
    ("picket-operator", "prewarm", Binding::Cluster),
    ("picket-operator", "pull-secrets", Binding::Cluster),
    ("picket-operator", "quarantine", Binding::Cluster),
    ("picket-operator", "rollout", Binding::Cluster),
    ("picket-operator", "role", Binding::Namespace),
    (
        "picket-operator",
        "certificate-self-managed",
        Binding::Namespace,
    ),
    ("picket-doctor", "doctor-cluster", Binding::Cluster),
    ("picket-doctor", "doctor", Binding::Namespace),
    ("picket-crds", "crds-role", Binding::Cluster),
    ("picket-crds-removal", "crds-removal-role", Binding::Cluster),
];

/// Rights that no test uses, and why they are given all the same.
const UNUSED: [(&str, &str); 3] = [
    (
        "picket-operator: get clusterprotectionpolicies (picket.dev, cluster)",
        "as for protectionpolicies: the API server's validation lets no policy through that this \
         version cannot understand, so tests make but one, of the namespaced kind",
    ),
    (
        "picket-operator: patch events (events.k8s.io, cluster)",
        "whether something is told a second time within a test is chance",
    ),
    (
        "picket-operator: get namespaces (core, cluster)",
        "whether a pod comes before the watch has told of its namespace is chance",
    ),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Binding {
    Cluster,
    Namespace,
}

/// Account, how it is bound, API group, resource and verb.
type Right = (String, Binding, String, String, String);

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn given() -> anyhow::Result<BTreeSet<Right>> {
    let mut given = BTreeSet::new();
    for (account, file, binding) in ROLES {
        let path = format!("{}/files/{file}.yaml", chart());
        let rules = std::fs::read_to_string(&path).with_context(|| path.clone())?;
        let rules: Vec<Value> = serde_saphyr::from_str(&rules).with_context(|| path.clone())?;
        let each = |rule: &Value, key: &str| -> Vec<String> {
            let words = rule[key].as_array().into_iter().flatten();
            words.map(|word| text(word).to_owned()).collect()
        };
        for rule in &rules {
            for group in each(rule, "apiGroups") {
                for resource in each(rule, "resources") {
                    for verb in each(rule, "verbs") {
                        let right = (group.clone(), resource.clone(), verb);
                        given.insert((account.to_owned(), binding, right.0, right.1, right.2));
                    }
                }
            }
        }
    }
    Ok(given)
}

/// What an entry of an audit log shows to have been used.
fn used(entry: &Value) -> Option<Vec<Right>> {
    let note = |key: &str| text(&entry["annotations"][key]);
    if note("authorization.k8s.io/decision") != "allow" {
        return None;
    }
    // For example: RBAC: allowed by RoleBinding "picket-operator/…" of Role …
    let binding = match note("authorization.k8s.io/reason") {
        reason if reason.contains("by ClusterRoleBinding") => Binding::Cluster,
        reason if reason.contains("by RoleBinding") => Binding::Namespace,
        _ => return None,
    };
    let account = text(&entry["user"]["username"]).rsplit(':').next()?;
    let object = &entry["objectRef"];
    let mut resource = text(&object["resource"]).to_owned();
    if let Some(part) = object["subresource"].as_str() {
        resource = format!("{resource}/{part}");
    }
    let verb = text(&entry["verb"]);
    let right = |verb: &str| {
        let group = text(&object["apiGroup"]).to_owned();
        (
            account.to_owned(),
            binding,
            group,
            resource.clone(),
            verb.to_owned(),
        )
    };
    let mut rights = vec![right(verb)];
    // Whoever applies what is not there is asked for `create` as well; only the patch is logged.
    if verb == "patch" && entry["responseStatus"]["code"] == 201 {
        rights.push(right("create"));
    }
    Some(rights)
}

fn main() -> anyhow::Result<()> {
    let folder = std::env::args_os()
        .nth(1)
        .context("usage: rights_used FOLDER")?;
    let mut unused = given()?;
    let total = unused.len();
    let mut entries = 0_usize;
    for file in std::fs::read_dir(Path::new(&folder)).context("the folder of the audit logs")? {
        let path = file?.path();
        let log = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        // The last line may have been cut off when its API server was killed.
        let lines = log
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        for entry in lines {
            entries += 1;
            for right in used(&entry).into_iter().flatten() {
                unused.remove(&right);
            }
        }
    }
    let names: BTreeSet<String> = unused
        .iter()
        .map(|(account, binding, group, resource, verb)| {
            let group = if group.is_empty() { "core" } else { group };
            let place = match binding {
                Binding::Cluster => "cluster",
                Binding::Namespace => "namespace",
            };
            format!("{account}: {verb} {resource} ({group}, {place})")
        })
        .collect();
    let excused: BTreeSet<&str> = UNUSED.iter().map(|(right, _)| *right).collect();
    let missing: Vec<&String> = names
        .iter()
        .filter(|name| !excused.contains(name.as_str()))
        .collect();
    println!(
        "{entries} entries: {} of {total} rights were used",
        total - names.len()
    );
    if !missing.is_empty() {
        bail!("no test used what the chart gives: {missing:#?}");
    }
    Ok(())
}
