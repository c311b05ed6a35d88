//! The API as a real API server has it: what it explains, accepts and refuses,
//! and what the operator says about it.

use picket_tests::kube::objects::{POLICY_COLUMNS, assert_injected, pod, policy};
use picket_tests::kube::{ControlPlane, Operator, Options, eventually};
use serde_json::{Value, json};

/// The condition `Accepted` of a policy.
fn accepted(policy: &Value) -> &Value {
    let conditions = policy["status"]["conditions"].as_array();
    conditions
        .into_iter()
        .flatten()
        .find(|condition| condition["type"] == "Accepted")
        .unwrap_or_else(|| panic!("no condition Accepted in {policy:#}"))
}

#[test]
fn kubectl_explains_every_field() {
    let kubectl = Operator::shared().kubectl();
    for (field, text) in [
        ("protectionpolicy", "Protects pods of its namespace"),
        (
            "protectionpolicy.spec.mode",
            "What happens to what the rules find.",
        ),
        ("protectionpolicy.spec.optOut", "picket.dev/protect"),
        ("protectionpolicy.status.conditions", "Accepted"),
    ] {
        let output = kubectl.run(&["explain", field], "").expect_success();
        assert!(output.stdout.contains(text), "{field}: {}", output.stdout);
    }
}

#[test]
fn defaults_are_filled_in_and_shown_in_columns() {
    let operator = Operator::shared();
    let namespace = operator.namespace("columns", &[]);
    let policy = operator.protect(&namespace, "plain", json!({}));
    assert_eq!(policy["spec"]["mode"], "Monitor");
    assert_eq!(policy["spec"]["computeType"], "Fargate");
    let table = operator
        .kubectl()
        .run(&["get", "pp", "-n", &namespace], "")
        .expect_success();
    let lines: Vec<Vec<&str>> = table
        .stdout
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(lines[0], POLICY_COLUMNS);
    assert_eq!(lines[1][..2], ["plain", "Monitor"]);
}

#[test]
fn a_policy_that_cannot_work_is_refused_with_the_reason() {
    let operator = Operator::shared();
    let namespace = operator.namespace("refused", &[]);
    let overrides = |entry: Value| json!({"entrypoint": {"overrides": [entry]}});
    let expressions = |entry: Value| json!({"podSelector": {"matchExpressions": [entry]}});
    let resources = |value: Value| json!({"agent": {"resources": value}});
    let cases = [
        (
            json!({"mode": "Sleep"}),
            "spec.mode: Unsupported value: \"Sleep\"",
        ),
        (json!({"priority": 1001}), "spec.priority"),
        (
            json!({"containers": {"include": ["Web"]}}),
            "`include` holds names of containers",
        ),
        (
            json!({"containers": {"exclude": ["a/b"]}}),
            "`exclude` holds names of containers",
        ),
        (
            json!({"containers": {"exclude": ["*"]}}),
            "use `mode: Disabled`",
        ),
        (
            json!({"agent": {"native": "Never", "startup": "Require"}}),
            "`startup: Require` needs a native sidecar",
        ),
        (
            resources(json!({"limits": {"memory": "16Mi"}})),
            "must be at least 32Mi",
        ),
        (
            resources(json!({"limits": {"memory": "64Mi"}, "requests": {"memory": "65Mi"}})),
            "`limits.memory` must not be below `requests.memory`",
        ),
        (
            resources(json!({"limits": {"cpu": "10m"}, "requests": {"cpu": "11m"}})),
            "`limits.cpu` must not be below `requests.cpu`",
        ),
        (
            resources(json!({"requests": {"cpu": "much"}})),
            "`cpu` must be a quantity",
        ),
        (
            resources(json!({"requests": {"memory": "64 MB"}})),
            "`memory` must be a quantity",
        ),
        (
            resources(json!({"limits": {"cpu": "-1"}})),
            "`cpu` must be a quantity",
        ),
        (
            overrides(json!({"cmd": ["a"]})),
            "needs `container` or `image`",
        ),
        (
            overrides(json!({"image": "a"})),
            "needs `entrypoint` or `cmd`",
        ),
        (
            expressions(json!({"key": "app", "operator": "In"})),
            "operators In and NotIn need at least one entry",
        ),
        (
            expressions(json!({"key": "app", "operator": "Exists", "values": ["a"]})),
            "operators Exists and DoesNotExist take no `values`",
        ),
    ];
    for (spec, message) in cases {
        let object = policy(&namespace, "refused", spec.clone());
        let output = operator
            .kubectl()
            .run(&["apply", "-f", "-"], &object.to_string());
        assert!(!output.success, "accepted: {spec}");
        assert!(output.stderr.contains(message), "{spec}: {}", output.stderr);
    }
}

#[test]
fn the_status_says_what_a_policy_does() {
    let operator = Operator::shared();
    let namespace = operator.namespace("status", &[]);
    let deny = operator.protect(&namespace, "deny", json!({"onInjectFailure": "Deny"}));
    assert_eq!(accepted(&deny)["status"], "True");
    assert_eq!(accepted(&deny)["reason"], "DenyNotBacked");
    assert_eq!(accepted(&deny)["observedGeneration"], 1);

    let disabled = operator.protect(&namespace, "deny", json!({"mode": "Disabled"}));
    assert_eq!(accepted(&disabled)["reason"], "Disabled");
    assert_eq!(accepted(&disabled)["observedGeneration"], 2);
    assert_eq!(
        accepted(&disabled)["lastTransitionTime"],
        accepted(&deny)["lastTransitionTime"],
        "the time of a flip moved without a flip"
    );

    // The namespace's label is what backs a refusal.
    let denied = operator.protect(&namespace, "deny", json!({"onInjectFailure": "Deny"}));
    assert_eq!(accepted(&denied)["reason"], "DenyNotBacked");
    operator
        .kubectl()
        .run(
            &["label", "namespace", &namespace, "picket.dev/enforce=true"],
            "",
        )
        .expect_success();
    eventually("the label backs the policy", || {
        let policy = operator.assessed(&namespace, "deny");
        (accepted(&policy)["reason"] == "Accepted").then_some(())
    });
}

#[test]
fn policies_that_overlap_name_each_other() {
    let operator = Operator::shared();
    let namespace = operator.namespace("overlap", &[]);
    let web = json!({"podSelector": {"matchLabels": {"app": "web"}}});
    operator.protect(&namespace, "web", web);
    operator.protect(&namespace, "all", json!({}));
    for (policy, other) in [("web", "`all`"), ("all", "`web`")] {
        eventually(&format!("{policy} names {other}"), || {
            let policy = operator.assessed(&namespace, policy);
            let message = accepted(&policy)["message"].as_str()?;
            message.contains(other).then_some(())
        });
    }
}

#[test]
fn a_status_that_is_right_is_not_written_again() {
    let operator = Operator::shared();
    let namespace = operator.namespace("quiet", &[]);
    operator.protect(&namespace, "quiet", json!({}));
    // Each of them is written by a part of its own.
    let before = eventually("everything is said", || {
        let policy = operator.assessed(&namespace, "quiet");
        let said = policy["status"]["conditions"].as_array()?;
        ["Accepted", "RuleSetsResolved", "Covered"]
            .iter()
            .all(|kind| said.iter().any(|condition| condition["type"] == *kind))
            .then_some(policy)
    });
    // Something else changes: every policy is assessed again.
    let elsewhere = operator.namespace("quiet-other", &[]);
    operator.protect(&elsewhere, "other", json!({}));
    let after = operator.assessed(&namespace, "quiet");
    assert_eq!(
        before["metadata"]["resourceVersion"],
        after["metadata"]["resourceVersion"]
    );
}

#[test]
fn a_policy_that_cannot_be_understood_does_not_stop_the_others() {
    // The API server of this test has a looser CRD, as after a downgrade.
    let control_plane = ControlPlane::start().unwrap_or_else(|error| panic!("{error}"));
    let operator = Operator::install(Box::leak(Box::new(control_plane)), &Options::default());
    let kubectl = operator.kubectl();
    let mode = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/mode";
    let looser = json!([{"op": "remove", "path": format!("{mode}/enum")}]).to_string();
    let crd = "crd/protectionpolicies.picket.dev";
    kubectl
        .run(&["patch", crd, "--type=json", "-p", &looser], "")
        .expect_success();
    let namespace = operator.namespace("odd", &[]);
    let odd = policy(&namespace, "odd", json!({"mode": "Sleep"}));
    eventually("the looser CRD is in force", || {
        let output = kubectl.run(&["apply", "-f", "-"], &odd.to_string());
        output.success.then_some(())
    });

    let odd = operator.assessed(&namespace, "odd");
    assert_eq!(accepted(&odd)["status"], "False");
    assert_eq!(accepted(&odd)["reason"], "Invalid");
    let message = accepted(&odd)["message"].as_str().expect("message");
    assert!(message.contains("Sleep"), "{message}");

    let good = operator.protect(&namespace, "good", json!({"computeType": "Any"}));
    assert_eq!(accepted(&good)["status"], "True");
    assert_injected(&kubectl.apply(&pod(&namespace, "web"), false));
}

/// Objects of ours in the code blocks of a document, whether they stand alone or are given to a
/// command.
fn objects_of(document: &str) -> Vec<Value> {
    let blocks = document.split("\n```").skip(1).step_by(2);
    let texts = blocks.flat_map(|block| {
        let block = block.split_once('\n').map_or("", |(_, text)| text);
        let given: Vec<&str> = block.split("EOF\n").skip(1).step_by(2).collect();
        if given.is_empty() { vec![block] } else { given }
    });
    texts
        .flat_map(|text| text.split("\n---\n"))
        .filter(|text| text.contains("apiVersion: picket.dev/"))
        .map(|text| {
            let text = text.split("\nEOF").next().unwrap_or_default();
            serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
        })
        .collect()
}

#[test]
fn every_object_of_the_documentation_is_taken() {
    let operator = Operator::shared();
    let namespace = operator.namespace("documented", &[]);
    let documents = [
        include_str!("../../docs/install-eks.md"),
        include_str!("../../docs/operations.md"),
    ];
    for document in documents {
        let objects = objects_of(document);
        assert!(!objects.is_empty());
        for mut object in objects {
            if object["kind"] == "ProtectionPolicy" {
                object["metadata"]["namespace"] = json!(namespace);
            }
            operator.kubectl().apply(&object, true);
        }
    }
}
