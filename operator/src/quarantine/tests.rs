use serde_json::{Value, json};

use super::{Step, plan};
use crate::pods::{PodFacts, WatchedPod};

fn read(pod: Value) -> PodFacts {
    let pod: WatchedPod = serde_json::from_value(pod).expect("a pod");
    PodFacts::of(&pod)
}

fn pod(labels: Value, annotations: Value) -> PodFacts {
    read(json!({
        "metadata": {"uid": "7", "name": "web-1", "namespace": "shop", "labels": labels, "annotations": annotations},
        "status": {"phase": "Running"},
    }))
}

#[test]
fn a_pod_that_nobody_wants_there_is_left_alone() {
    assert_eq!(plan(&pod(json!({"app": "web"}), json!({}))), Step::None);
    let other = json!({"picket.dev/quarantine": "false"});
    assert_eq!(plan(&pod(json!({"app": "web"}), other)), Step::None);
}

#[test]
fn it_loses_what_services_and_controllers_find_it_by_and_gets_it_back() {
    let labels = json!({"app": "web", "pod-template-hash": "1", "eks.amazonaws.com/region": "x", "picket.dev/protect": "true"});
    let pod_before = pod(labels, json!({"picket.dev/quarantine": "true"}));
    let Step::Enter {
        network_policy,
        patch,
    } = plan(&pod_before)
    else {
        panic!("it goes there")
    };
    let moved = json!({"app": "web", "pod-template-hash": "1"}).to_string();
    assert_eq!(
        patch,
        json!({"metadata": {
            "uid": "7",
            "labels": {"app": null, "pod-template-hash": null, "picket.dev/quarantined": "7"},
            "annotations": {"picket.dev/quarantined-labels": moved},
        }})
    );
    let policy = network_policy.expect("off Fargate");
    assert_eq!(policy["metadata"]["name"], "picket-quarantine-web-1");
    assert_eq!(policy["metadata"]["ownerReferences"][0]["uid"], "7");
    assert_eq!(
        policy["spec"],
        json!({"podSelector": {"matchLabels": {"picket.dev/quarantined": "7"}}, "policyTypes": ["Ingress", "Egress"]})
    );

    let after = json!({"eks.amazonaws.com/region": "x", "picket.dev/protect": "true", "picket.dev/quarantined": "7"});
    let there = json!({"picket.dev/quarantine": "true", "picket.dev/quarantined-labels": moved});
    let in_quarantine = pod(after.clone(), there);
    assert_eq!(plan(&in_quarantine), Step::None, "once is enough");
    assert_eq!(
        in_quarantine.labels["app"], "web",
        "policies see what it was"
    );

    let undone = pod(after, json!({"picket.dev/quarantined-labels": moved}));
    assert_eq!(
        plan(&undone),
        Step::Leave {
            network_policy: "picket-quarantine-web-1".to_owned(),
            patch: json!({"metadata": {
                "uid": "7",
                "labels": {"app": "web", "pod-template-hash": "1", "picket.dev/quarantined": null},
                "annotations": {"picket.dev/quarantined-labels": null},
            }}),
        }
    );
}

#[test]
fn on_fargate_there_is_no_network_policy() {
    let labels = json!({"app": "web", "eks.amazonaws.com/fargate-profile": "all"});
    let step = plan(&pod(labels, json!({"picket.dev/quarantine": "true"})));
    assert!(
        matches!(
            step,
            Step::Enter {
                network_policy: None,
                ..
            }
        ),
        "{step:?}"
    );
}

#[test]
fn what_is_not_json_restores_nothing_and_ends_the_quarantine() {
    let step = plan(&pod(
        json!({}),
        json!({"picket.dev/quarantined-labels": "["}),
    ));
    let Step::Leave { patch, .. } = step else {
        panic!("{step:?}")
    };
    assert_eq!(
        patch["metadata"]["labels"],
        json!({"picket.dev/quarantined": null})
    );
}

#[test]
fn a_pod_that_has_ended_is_left_alone() {
    let ended = read(json!({
        "metadata": {"uid": "7", "name": "a", "annotations": {"picket.dev/quarantine": "true"}},
        "status": {"phase": "Failed"},
    }));
    assert_eq!(plan(&ended), Step::None);
}

#[test]
fn a_long_name_is_replaced_by_the_uid() {
    let long = "w".repeat(250);
    let pod = read(json!({
        "metadata": {"uid": "7", "name": long, "annotations": {"picket.dev/quarantined-labels": "{}"}},
    }));
    let Step::Leave { network_policy, .. } = plan(&pod) else {
        panic!("it leaves")
    };
    assert_eq!(network_policy, "picket-quarantine-7");
}
