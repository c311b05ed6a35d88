//! What a policy says before there is a pod: whether API servers reach the webhook, and whether
//! they would take what it makes of pods.
#![allow(missing_docs)]

use std::sync::OnceLock;

use picket_tests::kube::helm::{Helm, chart};
use picket_tests::kube::objects::{condition, pod, policy};
use picket_tests::kube::{ControlPlane, Kubectl, Operator, Options, eventually};
use serde_json::{Value, json};

fn options() -> Options {
    Options {
        arguments: vec![
            "--preflight=true".to_owned(),
            "--resolve-images=false".to_owned(),
        ],
        further_rules: vec!["preflight.yaml"],
        ..Options::default()
    }
}

/// An operator for tests that do not harm it.
fn shared() -> &'static Operator {
    static SHARED: OnceLock<Operator> = OnceLock::new();
    SHARED.get_or_init(|| Operator::install(ControlPlane::shared(), &options()))
}

fn any() -> Value {
    json!({"computeType": "Any"})
}

/// Waits until a policy's condition has this status and reason; returns its message.
fn says(kubectl: &Kubectl, namespace: &str, kind: &str, status: &str, reason: &str) -> String {
    let mut last = Value::Null;
    let started = std::time::Instant::now();
    loop {
        let policy = kubectl.get("protectionpolicy", namespace, "all");
        let found = policy.map_or(Value::Null, |policy| condition(&policy, kind));
        if found["status"] == status && found["reason"] == reason {
            return found["message"].as_str().expect("message").to_owned();
        }
        last = if found.is_null() { last } else { found };
        let waited = started.elapsed();
        assert!(
            waited < picket_tests::kube::PATIENCE,
            "{kind} of {namespace}/all is not {status} {reason} but {last:#}"
        );
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

#[test]
fn a_policy_is_ready_when_a_pod_for_trial_comes_back_injected_and_nothing_is_stored() {
    let operator = shared();
    let kubectl = operator.kubectl();
    for labels in [
        &[("pod-security.kubernetes.io/enforce", "restricted")][..],
        &[("picket.dev/enforce", "true")],
    ] {
        let namespace = operator.namespace("ready", labels);
        // Neither the selector nor a pod on Fargate has to be there.
        let spec = json!({"podSelector": {"matchExpressions": [
            {"key": "tier", "operator": "In", "values": ["web"]},
        ]}});
        kubectl.apply(&policy(&namespace, "all", spec), false);
        let told = says(&kubectl, &namespace, "Ready", "True", "Ready");
        assert!(told.contains("injected and let in"), "{told}");
        // Registries were not asked.
        assert!(told.contains("is not known"), "{told}");
        says(&kubectl, &namespace, "WebhookReachable", "True", "Answered");
        says(
            &kubectl,
            &namespace,
            "InjectionSuspended",
            "False",
            "NoneSuspended",
        );
        let list = ["get", "pods", "-n", &namespace, "-o", "name"];
        assert_eq!(kubectl.run(&list, "").expect_success().stdout, "");
        let table = ["get", "protectionpolicies", "-n", &namespace];
        let table = kubectl.run(&table, "").expect_success().stdout;
        let mut lines = table.lines().map(str::split_whitespace);
        let heads = lines.next().expect("heads");
        let at = heads.clone().position(|head| head == "READY");
        let row = lines.next().expect("a row");
        assert_eq!(
            row.clone().nth(at.expect("a column")),
            Some("True"),
            "{table}"
        );
    }
}

/// A policy of the cluster's own that refuses whatever has our agent, in namespaces with a label.
fn refuses_agents(label: &str) -> [Value; 2] {
    let group = "admissionregistration.k8s.io/v1";
    let name = format!("no-agents-{label}");
    let expression = "!has(object.spec.initContainers) || \
                      !object.spec.initContainers.exists(c, c.name == 'picket-agent')";
    [
        json!({
            "apiVersion": group, "kind": "ValidatingAdmissionPolicy", "metadata": {"name": name},
            "spec": {
                "failurePolicy": "Fail",
                "matchConstraints": {
                    "namespaceSelector": {"matchLabels": {label: "yes"}},
                    "resourceRules": [{
                        "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"],
                        "resources": ["pods"],
                    }],
                },
                "validations": [{"expression": expression, "message": "agents are not welcome"}],
            },
        }),
        json!({
            "apiVersion": group, "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": name},
            "spec": {"policyName": name, "validationActions": ["Deny"]},
        }),
    ]
}

#[test]
fn a_namespace_that_would_refuse_injected_pods_is_told_in_its_own_words() {
    let operator = shared();
    let kubectl = operator.kubectl();
    let label = format!("refuses.{}", operator.namespace);
    for object in refuses_agents(&label) {
        kubectl.apply(&object, false);
    }
    let namespace = operator.namespace("refused", &[(&label, "yes")]);
    let mut injected = pod(&namespace, "a");
    injected["spec"]["initContainers"] = json!([{"name": "picket-agent", "image": "a"}]);
    eventually("the policy is in force", || {
        let create = ["create", "--dry-run=server", "-f", "-"];
        let output = kubectl.run(&create, &injected.to_string());
        (!output.success).then_some(())
    });
    kubectl.apply(&policy(&namespace, "all", any()), false);
    let reason = "InjectionWouldBeRefused";
    let told = says(&kubectl, &namespace, "Ready", "False", reason);
    assert!(told.contains("agents are not welcome"), "{told}");
    assert!(told.contains(&namespace), "{told}");
    // The webhook is not to blame.
    says(&kubectl, &namespace, "WebhookReachable", "True", "Answered");
    let mend = ["label", "namespace", &namespace, &format!("{label}-")];
    kubectl.run(&mend, "").expect_success();
    says(&kubectl, &namespace, "Ready", "True", "Ready");
}

/// A quota whose amounts count, as without its controller they would not.
fn quota(kubectl: &Kubectl, namespace: &str, resource: &str, amount: &str) {
    let hard = json!({resource: amount});
    let quota = json!({
        "apiVersion": "v1", "kind": "ResourceQuota",
        "metadata": {"name": "all", "namespace": namespace}, "spec": {"hard": hard},
    });
    kubectl.apply(&quota, false);
    let status = json!({"status": {"hard": hard, "used": {resource: "0"}}}).to_string();
    let patch = [
        "patch",
        "resourcequota",
        "all",
        "-n",
        namespace,
        "--subresource=status",
        "--type=merge",
        "-p",
        &status,
    ];
    kubectl.run(&patch, "").expect_success();
}

#[test]
fn a_quota_that_leaves_no_room_for_the_agent_is_told_apart_from_one_that_leaves_none_at_all() {
    let operator = shared();
    let kubectl = operator.kubectl();
    let tight = operator.namespace("tight", &[]);
    quota(&kubectl, &tight, "limits.memory", "20Mi");
    let full = operator.namespace("full", &[]);
    quota(&kubectl, &full, "pods", "0");
    for namespace in [&tight, &full] {
        eventually("the quota is in force", || {
            let mut large = pod(namespace, "a");
            large["spec"]["containers"][0]["resources"] = json!({"limits": {"memory": "1Gi"}});
            let create = ["create", "--dry-run=server", "-f", "-"];
            let output = kubectl.run(&create, &large.to_string());
            output.stderr.contains("exceeded quota").then_some(())
        });
        kubectl.apply(&policy(namespace, "all", any()), false);
    }
    let reason = "InjectionWouldBeRefused";
    let told = says(&kubectl, &tight, "Ready", "False", reason);
    assert!(told.contains("QuotaWouldRefuse"), "{told}");
    // Here no pod at all can start, whoever asks: nothing is known of injected ones.
    let told = says(&kubectl, &full, "Ready", "Unknown", "TrialRefused");
    assert!(told.contains("exceeded quota"), "{told}");
}

/// Replaces a part of each entry for pods.
fn patch_entries(operator: &Operator, patch: impl Fn(usize) -> Value) {
    let patches: Vec<Value> = (0..2).map(patch).collect();
    let arguments = [
        "patch",
        "mutatingwebhookconfiguration",
        &operator.configuration,
        "--type=json",
        "-p",
        &json!(patches).to_string(),
    ];
    operator.kubectl().run(&arguments, "").expect_success();
}

#[test]
fn a_webhook_that_is_not_reached_or_not_asked_is_told_with_the_remedy() {
    let control_plane = ControlPlane::start().unwrap_or_else(|error| panic!("{error}"));
    let control_plane: &'static ControlPlane = Box::leak(Box::new(control_plane));
    let operator = Operator::install(control_plane, &options());
    let kubectl = operator.kubectl();
    let url = |entry: usize| format!("/webhooks/{entry}/clientConfig/url");
    let before = kubectl
        .get("mutatingwebhookconfiguration", "", &operator.configuration)
        .expect("configuration");
    // Nobody listens on port 1.
    patch_entries(&operator, |entry| {
        let nobody = "https://127.0.0.1:1/mutate";
        json!({"op": "replace", "path": url(entry), "value": nobody})
    });
    let plain = operator.namespace("unreached", &[]);
    let enforced = operator.namespace("unreached", &[("picket.dev/enforce", "true")]);
    eventually("pods of the enforced namespace are refused", || {
        let create = ["create", "--dry-run=server", "-f", "-"];
        let output = kubectl.run(&create, &pod(&enforced, "a").to_string());
        output
            .stderr
            .contains("failed calling webhook")
            .then_some(())
    });
    for (namespace, words) in [
        (&plain, "came back as it was"),
        (&enforced, "failed calling webhook"),
    ] {
        kubectl.apply(&policy(namespace, "all", any()), false);
        let reason = "WebhookUnreachable";
        let told = says(&kubectl, namespace, "WebhookReachable", "False", reason);
        assert!(told.contains(words), "{told}");
        assert!(told.contains("security group"), "{told}");
        says(&kubectl, namespace, "Ready", "False", reason);
    }
    patch_entries(&operator, |entry| {
        let restored = &before["webhooks"][entry]["clientConfig"]["url"];
        json!({"op": "replace", "path": url(entry), "value": restored})
    });
    for namespace in [&plain, &enforced] {
        says(&kubectl, namespace, "Ready", "True", "Ready");
    }

    // The kill switch, as the chart sets it.
    patch_entries(&operator, |entry| {
        let path = format!("/webhooks/{entry}/namespaceSelector/matchExpressions/-");
        let never = json!({"key": "kubernetes.io/metadata.name", "operator": "DoesNotExist"});
        json!({"op": "add", "path": path, "value": never})
    });
    let reason = "InjectionSwitchedOff";
    for namespace in [&plain, &enforced] {
        says(&kubectl, namespace, "Ready", "False", reason);
        says(&kubectl, namespace, "WebhookReachable", "False", reason);
    }
}

#[test]
fn without_the_right_to_try_it_is_said_that_nothing_was_tried() {
    let forbidden = Options {
        further_rules: Vec::new(),
        ..options()
    };
    for (options, reason, words) in [
        (forbidden, "Untold", "cannot create resource"),
        (Options::default(), "PreflightOff", "preflight.enabled"),
    ] {
        let operator = Operator::install(ControlPlane::shared(), &options);
        let kubectl = operator.kubectl();
        let namespace = operator.namespace("untried", &[]);
        kubectl.apply(&policy(&namespace, "all", any()), false);
        let told = says(&kubectl, &namespace, "Ready", "Unknown", reason);
        assert!(told.contains(words), "{told}");
        says(&kubectl, &namespace, "WebhookReachable", "Unknown", reason);
    }
}

#[test]
fn the_control_plane_can_create_pods_as_a_dry_run_only() {
    let operator = shared();
    let (kubectl, own) = (operator.kubectl(), &operator.namespace);
    let chart = chart();
    let mut template = vec!["template", "picket", &chart, "-n", own];
    template.extend(["--kube-version", "1.34.0"]);
    template.extend(["--show-only", "templates/preflight.yaml"]);
    let text = Helm::offline().run(&template).expect_success().stdout;
    // One of this name may be there for another test's operator.
    let text = text.replace("picket-preflight", &format!("picket-preflight-{own}"));
    kubectl.run(&["apply", "-f", "-"], &text).expect_success();

    let namespace = operator.namespace("dry", &[]);
    let account = format!("--as=system:serviceaccount:{own}:picket-operator");
    let create = |dry_run: &str, name: &str| {
        let arguments = ["create", "-f", "-", dry_run, &account];
        let output = kubectl.run(&arguments, &pod(&namespace, name).to_string());
        output.success.then_some(()).ok_or(output.stderr)
    };
    let mut number = 0;
    let refused = eventually("what would be stored is refused", || {
        number += 1;
        create("--dry-run=none", &format!("a{number}")).err()
    });
    assert!(refused.contains("for trial only"), "{refused}");
    assert_eq!(create("--dry-run=server", "b"), Ok(()));
    // Others are not meant.
    kubectl.apply(&pod(&namespace, "c"), false);
    kubectl.apply(&policy(&namespace, "all", any()), false);
    says(&kubectl, &namespace, "Ready", "True", "Ready");
}
