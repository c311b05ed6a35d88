//! A new version of the sidecar in some namespaces before all others.

use picket_tests::kube::coverage::{has_gap, is, row};
use picket_tests::kube::objects::{assert_injected, pod};
use picket_tests::kube::{ControlPlane, Kubectl, Kubelet, Operator, Options};
use serde_json::{Value, json};

const CANARY: &str = "registry.example/picket-sidecar@sha256:1111111111111111111111111111111111111111111111111111111111111111";
const VERSION: &str = "99.0.0-canary";

/// Puts the pod `web` into a namespace, in place of the one that is there; gives it as it is.
fn replace(kubectl: &Kubectl, namespace: &str) -> Value {
    let delete = [
        "delete",
        "pod",
        "web",
        "-n",
        namespace,
        "--ignore-not-found",
    ];
    kubectl.run(&delete, "").expect_success();
    let pod = kubectl.apply(&pod(namespace, "web"), false);
    assert_injected(&pod);
    pod
}

/// The image of the agent, and the version that the pod says it was injected as.
fn injected_as(pod: &Value) -> (String, String) {
    let status = &pod["metadata"]["annotations"]["picket.dev/status"];
    let status: Value = serde_json::from_str(status.as_str().expect("a status")).expect("JSON");
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    (
        text(&pod["spec"]["initContainers"][1]["image"]),
        text(&status["revision"]),
    )
}

#[test]
fn a_namespace_gets_the_new_version_before_all_others_and_the_old_one_again() {
    // Its own, for each operator of a cluster has its own idea of what is current.
    let control_plane = Box::leak(Box::new(ControlPlane::start().expect("control plane")));
    let canaries = json!([{
        "revision": VERSION,
        "image": CANARY,
        "namespaces": ["named-*"],
        "namespaceSelector": {"matchLabels": {"ring": "first"}},
    }]);
    let options = Options {
        arguments: vec![format!("--canaries={canaries}")],
        ..Options::default()
    };
    let operator = Operator::install(control_plane, &options);
    let kubectl = operator.kubectl();
    let _kubelet = Kubelet::of_all(control_plane);
    let [named, labelled, rest] =
        ["named", "labelled", "rest"].map(|prefix| operator.protected(prefix, &[]));
    let new = (CANARY.to_owned(), VERSION.to_owned());
    let web = |namespace: &str, wanted: &dyn Fn(&Value) -> bool| {
        row(&kubectl, (namespace, "Pod", "web"), wanted)
    };
    let current = |namespace: &str| {
        let row = web(namespace, &|row| is(row, "Healthy", [1, 1, 1, 1]));
        assert!(!has_gap(&row, "StaleRevision"), "{row:#}");
    };
    let stale = |namespace: &str, words: &str| {
        // The pod works, so its workload stays healthy.
        let row = web(namespace, &|row| is(row, "Healthy", [1, 1, 0, 1]));
        let mut gaps = row["gaps"].as_array().into_iter().flatten();
        let gap = gaps.find(|gap| gap["gap"] == "StaleRevision");
        let message = gap.and_then(|gap| gap["message"].as_str());
        assert_eq!(message, Some(words), "{row:#}");
    };

    assert_eq!(injected_as(&replace(&kubectl, &named)), new);
    let old = injected_as(&replace(&kubectl, &rest));
    assert_eq!(old.0, options.sidecar_image);
    assert_ne!(old.1, VERSION);
    assert_eq!(injected_as(&replace(&kubectl, &labelled)), old);
    for namespace in [&named, &labelled, &rest] {
        current(namespace);
    }

    // A namespace joins: what runs there is out of date, until it is made anew.
    let label = |words: &str| {
        let label = ["label", "namespace", &labelled, words];
        kubectl.run(&label, "").expect_success();
    };
    label("ring=first");
    stale(
        &labelled,
        &format!("injected as {}, now it is {VERSION}", old.1),
    );
    assert_eq!(injected_as(&replace(&kubectl, &labelled)), new);
    current(&labelled);
    // The others are as they were.
    assert_eq!(injected_as(&replace(&kubectl, &rest)), old);
    current(&named);
    current(&rest);

    // And leaves again.
    label("ring-");
    stale(
        &labelled,
        &format!("injected as {VERSION}, now it is {}", old.1),
    );
    assert_eq!(injected_as(&replace(&kubectl, &labelled)), old);
    current(&labelled);
}
