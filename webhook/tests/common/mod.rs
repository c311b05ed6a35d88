//! What the tests of the planner share.

#![allow(dead_code, reason = "each test binary uses a part")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use picket_crds::{ComputeType, ProtectionPolicySpec, annotations};
use picket_webhook::entrypoint::Images;
use picket_webhook::inject::{Facts, policies_from_yaml};
use picket_webhook::suspension::fingerprint;
use picket_webhook::{
    Canary, Context, Namespace, Plan, Policy, RelayAccess, Scope, Settings, Suspension, plan,
};
use serde::Deserialize;
use serde_json::Value;

pub(crate) const IMAGE: &str = "registry.example/picket-sidecar@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

pub(crate) fn settings() -> Settings {
    Settings {
        interest: "exec,fork,exit,connect,open:plain".into(),
        ..Settings::new(IMAGE, "r1")
    }
}

/// A golden case: `pod.yaml`; `policy.yaml` (one or more; without it everything is selected),
/// `namespace.yaml` (Namespace, LimitRange, ResourceQuota) and `context.yaml` if they are there.
pub(crate) struct Case {
    pub(crate) folder: PathBuf,
    pub(crate) name: String,
    pub(crate) pod: Value,
    /// `pod.yaml` as it was read.
    pub(crate) text: String,
    pub(crate) namespace: String,
    pub(crate) facts: Namespace,
    pub(crate) policies: Vec<Arc<Policy>>,
    pub(crate) settings: Settings,
    pub(crate) suspension: Option<Suspension>,
    pub(crate) known: CaseContext,
}

/// What else a case depends on.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct CaseContext {
    pub(crate) fargate: Option<bool>,
    native_sidecars: Option<bool>,
    enabled: Option<bool>,
    namespace: Option<String>,
    pub(crate) workload: Option<String>,
    #[serde(default)]
    image_pull_secrets: Vec<String>,
    /// Whether agents report to the relay.
    #[serde(default)]
    relay: bool,
    /// Interests of rule sets, by name.
    #[serde(default)]
    rule_sets: BTreeMap<String, String>,
    /// Names of Secrets that the namespace lacks.
    #[serde(default)]
    missing_secrets: Vec<String>,
    /// Why injection is suspended for the pod's workload, with the image of those days.
    suspended: Option<SuspendedFor>,
    #[serde(default)]
    canaries: Vec<Canary>,
    #[serde(default)]
    break_glass: bool,
}

#[derive(Deserialize)]
struct SuspendedFor {
    image: String,
    message: String,
}

impl Case {
    /// Every golden case, by name.
    pub(crate) fn all() -> Vec<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
        let mut cases: Vec<PathBuf> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        cases.sort();
        cases.into_iter().map(Self::read).collect()
    }

    fn read(folder: PathBuf) -> Self {
        let file = |name: &str| {
            let path = folder.join(name);
            path.exists().then(|| {
                fs::read_to_string(&path)
                    .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
            })
        };
        let known: CaseContext = file("context.yaml")
            .map(|text| serde_saphyr::from_str(&text).unwrap())
            .unwrap_or_default();
        let namespace = known.namespace.clone().unwrap_or_else(|| "shop".to_owned());
        let policies = match file("policy.yaml") {
            Some(text) => policies_from_yaml(&text, "shop").unwrap(),
            None => vec![everything("shop")],
        };
        let mut facts = Facts::of(&file("namespace.yaml").unwrap_or_default())
            .unwrap()
            .about(&namespace)
            .into_owned();
        facts.missing_secrets.extend(known.missing_secrets.clone());
        let settings = Settings {
            native_sidecars: known.native_sidecars.unwrap_or(true),
            enabled: known.enabled.unwrap_or(true),
            image_pull_secrets: known.image_pull_secrets.clone(),
            rule_set_interests: known.rule_sets.clone(),
            relay: known.relay.then(|| RelayAccess {
                address: "picket-relay.picket-system.svc:8444".into(),
                trust: "-----BEGIN CERTIFICATE-----\nY2E=\n-----END CERTIFICATE-----\n".into(),
            }),
            canaries: known.canaries.clone(),
            break_glass: known.break_glass,
            ..settings()
        };
        let suspension = known.suspended.as_ref().map(|suspended| Suspension {
            holds_for: fingerprint(
                &Settings {
                    sidecar_image: suspended.image.clone(),
                    ..settings.clone()
                },
                &policies[0],
            ),
            message: suspended.message.clone(),
        });
        // A pod that was injected before says what was injected.
        let present = fingerprint(&settings, &policies[0]);
        let pod = file("pod.yaml")
            .expect("pod.yaml")
            .replace("FINGERPRINT", &present);
        Self {
            name: folder
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
            pod: serde_saphyr::from_str(&pod).unwrap(),
            text: pod,
            namespace,
            facts,
            policies: policies.into_iter().map(Arc::new).collect(),
            settings,
            suspension,
            known,
            folder,
        }
    }

    /// What the planner is given.
    pub(crate) fn context(&self) -> Context<'_> {
        Context {
            namespace: &self.namespace,
            facts: &self.facts,
            policies: &self.policies,
            settings: &self.settings,
            workload: self.known.workload.as_deref(),
            fargate: self.known.fargate,
            suspension: self.suspension.as_ref(),
            images: Images::NONE,
        }
    }
}

/// A policy that wants every pod of the namespace.
pub(crate) fn everything(namespace: &str) -> Policy {
    let spec = ProtectionPolicySpec {
        compute_type: ComputeType::Any,
        ..Default::default()
    };
    Policy {
        scope: Scope::Namespace(namespace.into()),
        name: "protect".into(),
        created: Some(0),
        spec,
    }
}

pub(crate) fn apply(pod: &Value, plan: &Plan) -> Value {
    let mut pod = pod.clone();
    json_patch::patch(&mut pod, &plan.operations).expect("the patch applies");
    pod
}

/// Plans with this policy in namespace `shop`.
pub(crate) fn planned(pod: &Value, policy: Policy) -> Plan {
    let settings = settings();
    let policies = [Arc::new(policy)];
    plan(
        pod,
        &Context {
            namespace: "shop",
            facts: Namespace::UNKNOWN,
            policies: &policies,
            settings: &settings,
            workload: None,
            fargate: None,
            suspension: None,
            images: Images::NONE,
        },
    )
}

/// True for places that the planner may add to or change.
fn is_ours(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    match parts.as_slice() {
        ["metadata"] | ["metadata", "annotations"] => true,
        ["metadata", "annotations", key] => *key == annotations::STATUS.replace('/', "~1"),
        [
            "spec",
            "containers" | "initContainers" | "volumes" | "imagePullSecrets",
        ] => true,
        [
            "spec",
            "containers" | "initContainers" | "volumes" | "imagePullSecrets",
            name,
            ..,
        ] if name.starts_with("=picket") => true,
        ["spec", "imagePullSecrets", "=from-picket", ..] => true,
        ["spec", "shareProcessNamespace"] => true,
        [
            "spec",
            "containers" | "initContainers",
            _,
            "startupProbe" | "livenessProbe" | "readinessProbe",
            "exec",
            "command",
            _,
        ]
        | [
            "spec",
            "containers" | "initContainers",
            _,
            "lifecycle",
            "postStart" | "preStop",
            "exec",
            "command",
            _,
        ] => true,
        [
            "spec",
            "containers" | "initContainers",
            _,
            "command" | "args" | "volumeMounts",
            ..,
        ] => {
            parts.get(3) != Some(&"volumeMounts")
                || parts.get(4).is_none_or(|mount| *mount == "=picket")
        }
        _ => false,
    }
}

/// Every leaf with its path; entries of named lists by name, so that a shift is no change.
fn leaves(value: &Value, path: &str, found: &mut Vec<(String, String)>) {
    match value {
        Value::Object(map) => {
            found.push((path.to_owned(), "object".into()));
            for (key, value) in map {
                leaves(
                    value,
                    &format!("{path}/{}", key.replace('~', "~0").replace('/', "~1")),
                    found,
                );
            }
        }
        Value::Array(items) => {
            found.push((path.to_owned(), "list".into()));
            for (index, item) in items.iter().enumerate() {
                let name = item["name"]
                    .as_str()
                    .map_or_else(|| index.to_string(), |name| format!("={name}"));
                leaves(item, &format!("{path}/{name}"), found);
            }
        }
        leaf => found.push((path.to_owned(), leaf.to_string())),
    }
}

/// Fails when anything outside our places differs, in value or in order.
pub(crate) fn assert_only_our_places_differ(before: &Value, after: &Value) {
    let others = |value: &Value| {
        let mut found = Vec::new();
        leaves(value, "", &mut found);
        found.retain(|(path, _)| !is_ours(path));
        // The order of keys means nothing; that of list entries does.
        found
    };
    let sorted = |mut found: Vec<(String, String)>| {
        found.sort();
        found
    };
    assert_eq!(sorted(others(before)), sorted(others(after)));
    for list in ["containers", "initContainers", "volumes"] {
        let names = |pod: &Value| -> Vec<String> {
            let items = pod["spec"][list].as_array().into_iter().flatten();
            items
                .filter_map(|item| item["name"].as_str())
                .filter(|name| !name.starts_with("picket"))
                .map(str::to_owned)
                .collect()
        };
        assert_eq!(names(before), names(after), "order of {list}");
    }
}

/// The value without empty lists and without nulls, which mean the same as nothing.
pub(crate) fn without_empty(value: &Value) -> Value {
    match value {
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| (key.clone(), without_empty(value)))
            .filter(|(key, value)| match value {
                Value::Null => false,
                Value::Array(items) => !items.is_empty(),
                Value::Object(map) => key != "annotations" || !map.is_empty(),
                _ => true,
            })
            .collect(),
        Value::Array(items) => items.iter().map(without_empty).collect(),
        other => other.clone(),
    }
}

/// What a CPU-based HorizontalPodAutoscaler divides by: the CPU requests of all containers and
/// native sidecars, in thousandths of a core. `None` where one has no request, because the
/// autoscaler then stops working.
pub(crate) fn autoscaling_denominator(pod: &Value) -> Option<u64> {
    let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
    let inits = pod["spec"]["initContainers"]
        .as_array()
        .into_iter()
        .flatten();
    let sidecars = inits.filter(|container| container["restartPolicy"] == "Always");
    containers
        .chain(sidecars)
        .map(|container| {
            let resources = &container["resources"];
            // The API server takes a limit for a request that is not there.
            picket_webhook::quantity::millicores(&resources["requests"]["cpu"])
                .or_else(|| picket_webhook::quantity::millicores(&resources["limits"]["cpu"]))
        })
        .sum()
}

/// Fails unless a container passes the `restricted` Pod Security Standard by itself.
pub(crate) fn assert_restricted(container: &Value) {
    let context = &container["securityContext"];
    assert_eq!(context["allowPrivilegeEscalation"], false);
    assert_eq!(
        context["capabilities"],
        serde_json::json!({"drop": ["ALL"]})
    );
    assert_eq!(context["runAsNonRoot"], true);
    assert!(context["runAsUser"].as_u64().is_some_and(|uid| uid > 0));
    assert_eq!(context["seccompProfile"]["type"], "RuntimeDefault");
    assert_eq!(context["readOnlyRootFilesystem"], true);
}
