use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::*;
use kube::core::error_boundary::InvalidObject;
use picket_crds::{ClusterProtectionPolicy, ProtectionPolicy};
use serde_json::json;

fn policy(name: &str, spec: &serde_json::Value) -> ProtectionPolicy {
    serde_json::from_value(json!({
        "apiVersion": "picket.dev/v1alpha1",
        "kind": "ProtectionPolicy",
        "metadata": {"name": name, "namespace": "shop", "generation": 3},
        "spec": spec,
    }))
    .expect("policy")
}

fn labelled(value: &str) -> Namespaces {
    [(
        "shop".to_owned(),
        [(labels::ENFORCE.to_owned(), value.to_owned())].into(),
    )]
    .into()
}

fn assess_valid(valid: Vec<ProtectionPolicy>, namespaces: &Namespaces) -> Vec<Assessment> {
    let policies = Policies {
        valid,
        cluster: Vec::new(),
        invalid: Vec::new(),
    };
    assess(&policies, namespaces, &["picket-system"])
}

#[test]
fn reasons() {
    let cases = [
        ("plain", json!({}), "", conditions::REASON_ACCEPTED),
        (
            "off",
            json!({"mode": "Disabled"}),
            "",
            conditions::REASON_DISABLED,
        ),
        (
            "deny",
            json!({"onInjectFailure": "Deny"}),
            "",
            conditions::REASON_DENY_NOT_BACKED,
        ),
        (
            "deny, not labelled so",
            json!({"onInjectFailure": "Deny"}),
            "false",
            conditions::REASON_DENY_NOT_BACKED,
        ),
        (
            "deny, backed",
            json!({"onInjectFailure": "Deny"}),
            "true",
            conditions::REASON_ACCEPTED,
        ),
        (
            "off and deny",
            json!({"mode": "Disabled", "onInjectFailure": "Deny"}),
            "",
            conditions::REASON_DISABLED,
        ),
    ];
    for (name, spec, label, expected) in cases {
        let assessments = assess_valid(vec![policy("a", &spec)], &labelled(label));
        assert_eq!(assessments.len(), 1, "{name}");
        assert!(assessments[0].accepted, "{name}");
        assert_eq!(assessments[0].reason, expected, "{name}");
        assert_eq!(assessments[0].generation, Some(3), "{name}");
    }
}

#[test]
fn an_excluded_namespace_is_told() {
    let policies = Policies {
        valid: vec![policy("a", &json!({}))],
        cluster: Vec::new(),
        invalid: Vec::new(),
    };
    let assessments = assess(&policies, &Namespaces::new(), &["shop"]);
    assert!(
        assessments[0].message.contains("never injected"),
        "{assessments:?}"
    );
}

#[test]
fn overlapping_policies_are_named_on_both_sides() {
    let web = json!({"podSelector": {"matchLabels": {"app": "web"}}});
    let job = json!({"podSelector": {"matchLabels": {"app": "job"}}});
    let all = vec![
        policy("all", &json!({})),
        policy("web", &web),
        policy("job", &job),
    ];
    let assessments = assess_valid(all, &Namespaces::new());
    let messages: Vec<&str> = assessments.iter().map(|a| a.message.as_str()).collect();
    assert!(
        messages[0].contains("; wins over `web`, `job` where both select a pod"),
        "{messages:?}"
    );
    assert!(
        messages[1].contains("; loses to `all` where"),
        "{messages:?}"
    );
    assert!(
        messages[2].contains("; loses to `all` where"),
        "{messages:?}"
    );
}

fn cluster(name: &str, spec: &serde_json::Value) -> ClusterProtectionPolicy {
    serde_json::from_value(json!({
        "apiVersion": "picket.dev/v1alpha1",
        "kind": "ClusterProtectionPolicy",
        "metadata": {"name": name, "generation": 3},
        "spec": spec,
    }))
    .expect("policy")
}

#[test]
fn policies_of_the_cluster_are_assessed_by_the_namespaces_that_they_select() {
    let labels = |team: &str, enforce: &str| {
        [
            ("team".to_owned(), team.to_owned()),
            (labels::ENFORCE.to_owned(), enforce.to_owned()),
        ]
        .into()
    };
    let namespaces: Namespaces = [
        ("shop".to_owned(), labels("web", "true")),
        ("blog".to_owned(), labels("web", "false")),
        ("bank".to_owned(), labels("bank", "true")),
    ]
    .into();
    let of_team = |team: &str, more: serde_json::Value| {
        let mut spec = json!({"namespaceSelector": {"matchLabels": {"team": team}}});
        spec.as_object_mut()
            .expect("spec")
            .extend(more.as_object().expect("more").clone());
        spec
    };
    let policies = Policies {
        valid: vec![policy("own", &json!({}))],
        cluster: vec![
            cluster("bank", &of_team("bank", json!({"onInjectFailure": "Deny"}))),
            cluster(
                "floor",
                &of_team(
                    "web",
                    json!({"optOut": "Forbidden", "onInjectFailure": "Deny"}),
                ),
            ),
            cluster("nobody", &of_team("nobody", json!({}))),
        ],
        invalid: Vec::new(),
    };
    let found: Vec<(Kind, String, &str, String)> = assess(&policies, &namespaces, &[])
        .into_iter()
        .map(|found| (found.kind, found.name, found.reason, found.message))
        .collect();
    let expected = [
        (
            Kind::Namespaced,
            "own",
            conditions::REASON_ACCEPTED,
            "in use for new pods; loses to `floor` where both select a pod",
        ),
        (
            Kind::Cluster,
            "bank",
            conditions::REASON_ACCEPTED,
            "in use for new pods of 1 namespace",
        ),
        (
            Kind::Cluster,
            "floor",
            conditions::REASON_DENY_NOT_BACKED,
            "in use, but nothing is refused in `blog`: `onInjectFailure: Deny` holds only in namespaces labelled picket.dev/enforce=true; wins over `shop/own` where both select a pod",
        ),
        (
            Kind::Cluster,
            "nobody",
            conditions::REASON_ACCEPTED,
            "in use, but it selects no namespace whose pods are ever injected",
        ),
    ];
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(
            (found.0, found.1.as_str(), found.2, found.3.as_str()),
            *expected
        );
    }
    assert_eq!(found.len(), expected.len());
}

#[test]
fn a_policy_that_cannot_be_understood_does_not_touch_the_others() {
    let policies = Policies {
        valid: vec![policy("good", &json!({}))],
        cluster: Vec::new(),
        invalid: vec![InvalidObject {
            error: "unknown variant `Sleep`".to_owned(),
            metadata: policy("bad", &json!({})).metadata,
        }],
    };
    let assessments = assess(&policies, &Namespaces::new(), &[]);
    assert_eq!(assessments[0].name, "good");
    assert!(assessments[0].accepted);
    assert_eq!(assessments[0].message, "in use for new pods");
    assert_eq!(assessments[1].name, "bad");
    assert!(!assessments[1].accepted);
    assert_eq!(assessments[1].reason, conditions::REASON_INVALID);
    assert!(assessments[1].message.contains("`Sleep`"));
}

#[test]
fn only_a_change_is_written_and_only_a_flip_moves_the_time() {
    let at = |seconds: i64| Timestamp::from_second(seconds).expect("time");
    let assessment = assess_valid(vec![policy("a", &json!({}))], &Namespaces::new()).remove(0);
    let written = assessment
        .change(&ProtectionPolicyStatus::default(), at(10))
        .expect("first");
    assert_eq!(written.observed_generation, Some(3));
    assert_eq!(written.conditions[0].last_transition_time, Time(at(10)));
    assert_eq!(assessment.change(&written, at(20)), None, "nothing changed");

    let reworded = Assessment {
        message: "other words".to_owned(),
        ..assessment.clone()
    };
    let rewritten = reworded.change(&written, at(30)).expect("new message");
    assert_eq!(rewritten.conditions[0].last_transition_time, Time(at(10)));

    let newer = Assessment {
        generation: Some(4),
        ..assessment.clone()
    };
    let observed = newer.change(&written, at(40)).expect("new generation");
    assert_eq!(observed.conditions[0].observed_generation, Some(4));

    let refused = Assessment {
        accepted: false,
        ..assessment
    };
    let flipped = refused.change(&written, at(50)).expect("flip");
    assert_eq!(flipped.conditions[0].last_transition_time, Time(at(50)));
}
