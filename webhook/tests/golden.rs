//! One folder per pod shape: `pod.yaml`, `policy.yaml` (one or more; without it everything is
//! selected) and `context.yaml` in, `patch.json` and `report.txt` out.
//!
//! `UPDATE_GOLDEN=1 cargo test -p picket-webhook --test golden` writes the outputs anew.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use picket_crds::ProtectionPolicy;
use picket_webhook::entrypoint::Images;
use picket_webhook::plan::uninjected;
use picket_webhook::{Context, Outcome, Policy, Reason, Settings, plan};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CaseContext {
    fargate: Option<bool>,
    native_sidecars: Option<bool>,
    enabled: Option<bool>,
    namespace: Option<String>,
    workload: Option<String>,
    #[serde(default)]
    image_pull_secrets: Vec<String>,
}

fn read(path: PathBuf) -> Option<String> {
    path.exists().then(|| {
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    })
}

fn compare(case: &Path, file: &str, actual: &str) {
    let path = case.join(file);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, actual).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        expected == actual,
        "{} differs; if that is meant, run UPDATE_GOLDEN=1 cargo test -p picket-webhook --test golden\n--- expected\n{expected}\n--- actual\n{actual}",
        path.display()
    );
}

fn check(case: &Path) -> Outcome {
    let pod: Value =
        serde_saphyr::from_str(&read(case.join("pod.yaml")).expect("pod.yaml")).unwrap();
    let known: CaseContext = read(case.join("context.yaml"))
        .map(|text| serde_saphyr::from_str(&text).unwrap())
        .unwrap_or_default();
    let namespace = known.namespace.as_deref().unwrap_or("shop");
    let policies: Vec<Arc<Policy>> = match read(case.join("policy.yaml")) {
        Some(text) => serde_saphyr::from_str_multiple::<ProtectionPolicy, Vec<_>>(&text)
            .unwrap()
            .into_iter()
            .map(|policy| Arc::new(Policy::new(policy, "shop")))
            .collect(),
        None => vec![Arc::new(common::everything("shop"))],
    };
    let settings = Settings {
        native_sidecars: known.native_sidecars.unwrap_or(true),
        enabled: known.enabled.unwrap_or(true),
        image_pull_secrets: known.image_pull_secrets,
        ..common::settings()
    };
    let context = Context {
        namespace,
        policies: &policies,
        settings: &settings,
        workload: known.workload.as_deref(),
        fargate: known.fargate,
        images: Images::NONE,
    };
    let first = plan(&pod, &context);
    compare(
        case,
        "patch.json",
        &format!(
            "{}\n",
            serde_json::to_string_pretty(&first.operations).unwrap()
        ),
    );
    compare(case, "report.txt", &first.report.to_string());

    let injected = common::apply(&pod, &first);
    let again = plan(&injected, &context);
    assert!(
        again.operations.is_empty(),
        "planning twice gives {}",
        serde_json::to_string_pretty(&again.operations).unwrap()
    );
    if first.report.outcome() != Outcome::Injected {
        assert_eq!(injected, pod, "a pod that is not injected stays as it is");
        return first.report.outcome();
    }
    assert!(matches!(
        again.report.reason,
        Reason::Current | Reason::PartlyInjected
    ));
    assert_eq!(again.report.containers, first.report.containers);
    serde_json::from_value::<Pod>(injected.clone()).expect("the injected pod is a pod");
    let lists = ["initContainers", "containers"].map(|list| {
        injected["spec"][list]
            .as_array()
            .cloned()
            .unwrap_or_default()
    });
    for container in lists
        .iter()
        .flatten()
        .filter(|container| container["image"] == common::IMAGE)
    {
        common::assert_restricted(container);
    }
    let original = uninjected(&injected).expect("an injected pod can be given back");
    let arrived_clean = uninjected(&pod).is_none();
    if arrived_clean {
        common::assert_only_our_places_differ(&pod, &injected);
        assert_eq!(
            common::without_empty(&original),
            common::without_empty(&pod)
        );
    }
    assert_eq!(
        common::apply(&original, &plan(&original, &context)),
        injected,
        "from the original again"
    );
    first.report.outcome()
}

#[test]
fn every_case() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut cases: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    cases.sort();
    let outcomes: Vec<Outcome> = cases
        .iter()
        .map(|case| {
            println!("case {}", case.file_name().unwrap_or_default().display());
            check(case)
        })
        .collect();
    let count = |outcome| outcomes.iter().filter(|found| **found == outcome).count();
    println!(
        "{} injected, {} skipped, {} failed",
        count(Outcome::Injected),
        count(Outcome::Skipped),
        count(Outcome::Failed)
    );
    assert!(cases.len() >= 60, "only {} cases", cases.len());
}
