//! Commands by `kubectl exec`: a file for each case, with the options, the running pod and the
//! policy in, and what becomes of the command out.
//!
//! `UPDATE_GOLDEN=1 cargo test -p picket-webhook --test golden_exec` writes the outcomes anew.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use picket_webhook::entrypoint::Images;
use picket_webhook::inject::policies_from_yaml;
use picket_webhook::plan::plan_exec;
use picket_webhook::sessions::{Issued, RunningContainer, RunningPod};
use picket_webhook::{Context, Namespace, Outcome, Plan};
use serde::Deserialize;
use serde_json::Value;

/// The key that the operator of these tests signs with.
const KEY: &str = "present-key";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Case {
    /// PodExecOptions, as the API server sends them.
    options: Value,
    /// The pod; absent where no watch has told of it.
    pod: Option<Pod>,
    /// The policy's spec.
    policy: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Pod {
    #[serde(default)]
    labels: BTreeMap<String, String>,
    /// Keys that its agent trusts.
    #[serde(default)]
    session_keys: Vec<String>,
    /// Names of containers that the tracer can be run in.
    #[serde(default)]
    traced: Vec<String>,
    init_containers: Vec<String>,
    containers: Vec<String>,
}

impl Pod {
    fn running(self) -> RunningPod {
        let all = [(false, self.init_containers), (true, self.containers)];
        let containers = all.into_iter().flat_map(|(main, names)| {
            let traced = &self.traced;
            let of = move |name: String| RunningContainer {
                holds_tracer: traced.contains(&name),
                name,
                main,
            };
            names.into_iter().map(of).collect::<Vec<_>>()
        });
        RunningPod {
            uid: "6ba7b810".into(),
            labels: self.labels,
            containers: containers.collect(),
            session_keys: self.session_keys,
        }
    }
}

fn planned(case: Case) -> (Value, Plan) {
    let policy = serde_json::json!({
        "apiVersion": "picket.dev/v1alpha1",
        "kind": "ProtectionPolicy",
        "metadata": {"name": "sessions"},
        "spec": case.policy,
    });
    let policies = policies_from_yaml(&policy.to_string(), "shop").expect("a policy");
    let policies: Vec<_> = policies.into_iter().map(Arc::new).collect();
    let settings = common::settings();
    let context = Context {
        namespace: "shop",
        facts: Namespace::UNKNOWN,
        policies: &policies,
        settings: &settings,
        workload: None,
        fargate: None,
        suspension: None,
        images: Images::NONE,
    };
    let pod = case.pod.map(Pod::running);
    let issue = |pod: &RunningPod, container: &str| {
        let trusted = pod.session_keys.iter().any(|key| key == KEY);
        trusted.then(|| Issued {
            name: "exec-0badcafe".into(),
            token: format!("signed:alice:{}:{container}", pod.uid),
        })
    };
    let plan = plan_exec(&case.options, pod.as_ref(), &issue, &context);
    let mut options = case.options;
    json_patch::patch(&mut options, &plan.operations).expect("the patch applies");
    (options, plan)
}

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden_exec");
    let entries = fs::read_dir(folder).expect("the cases");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("entry").path()).collect();
    files.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "yaml")
    });
    files.sort();
    files
}

#[test]
fn every_case() {
    let files = files();
    let mut traced = 0;
    for path in &files {
        println!("case {}", path.display());
        let text = fs::read_to_string(path).expect("readable");
        let case: Case = serde_saphyr::from_str(&text).expect("a case");
        let before = case.options.clone();
        let (options, plan) = planned(case);
        let words = serde_json::to_string_pretty(&options["command"]).expect("JSON");
        let actual = format!("{}\ncommand: {words}\n", plan.report.to_string().trim_end());
        let golden = path.with_extension("txt");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&golden, &actual).expect("written");
        }
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        assert_eq!(
            actual,
            expected,
            "{} differs; if that is meant, run UPDATE_GOLDEN=1 cargo test -p picket-webhook --test golden_exec",
            golden.display()
        );
        // Nothing but the command ever changes, and that only at its beginning.
        let mut rest = options.clone();
        rest["command"] = before["command"].clone();
        if before.is_object() {
            assert_eq!(rest, before);
        }
        if plan.report.outcome() == Outcome::Injected {
            traced += 1;
        } else {
            assert_eq!(options, before);
        }
    }
    assert!(files.len() >= 15, "only {} cases", files.len());
    assert!(traced >= 5, "only {traced} are traced");
}
