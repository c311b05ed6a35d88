//! Pods created through a real API server, with the real operator answering
//! its webhook.

use picket_tests::kube::objects::{assert_injected, condition, is_bare, names, pod};
use picket_tests::kube::{ControlPlane, Operator};
use serde_json::{Value, json};

#[test]
fn a_pod_comes_back_injected() {
    let operator = Operator::shared();
    let namespace = operator.protected("shop", &[]);
    let injected = operator.kubectl().apply(&pod(&namespace, "web"), false);
    assert_injected(&injected);
    let stored = operator.kubectl().get("pod", &namespace, "web");
    assert_injected(&stored.expect("stored"));
}

#[test]
fn a_pod_with_a_generated_name_comes_back_injected() {
    let operator = Operator::shared();
    let namespace = operator.protected("jobs", &[]);
    let mut pod = pod(&namespace, "");
    pod["metadata"] = json!({"generateName": "job-", "labels": {"app": "job"}});
    let created = operator
        .kubectl()
        .run(
            &["create", "-f", "-", "-o", "json", "-n", &namespace],
            &pod.to_string(),
        )
        .expect_success();
    assert_injected(&created.json());
}

#[test]
fn a_dry_run_shows_the_injected_pod_and_stores_nothing() {
    let operator = Operator::shared();
    let namespace = operator.protected("dry", &[]);
    assert_injected(&operator.kubectl().apply(&pod(&namespace, "web"), true));
    assert_eq!(operator.kubectl().get("pod", &namespace, "web"), None);
}

#[test]
fn a_pod_that_no_policy_selects_stays_as_it_is() {
    let operator = Operator::shared();
    let kubectl = operator.kubectl();
    let without_policy = operator.namespace("free", &[]);
    assert!(is_bare(&kubectl.apply(&pod(&without_policy, "web"), false)));

    let namespace = operator.namespace("chosen", &[]);
    let spec = json!({"computeType": "Any", "podSelector": {"matchLabels": {"app": "other"}}});
    operator.protect(&namespace, "other", spec);
    assert!(is_bare(&kubectl.apply(&pod(&namespace, "web"), false)));

    let fargate = operator.namespace("fargate", &[]);
    operator.protect(&fargate, "fargate", json!({}));
    assert!(is_bare(&kubectl.apply(&pod(&fargate, "elsewhere"), false)));
    let mut on_fargate = pod(&fargate, "web");
    on_fargate["metadata"]["labels"]["eks.amazonaws.com/fargate-profile"] = json!("default");
    assert_injected(&kubectl.apply(&on_fargate, false));
}

#[test]
fn an_opt_out_is_worth_what_the_policy_says() {
    let operator = Operator::shared();
    for (opt_out, bare) in [("Allowed", true), ("Audited", true), ("Forbidden", false)] {
        let namespace = operator.namespace("opt-out", &[]);
        let spec = json!({"computeType": "Any", "optOut": opt_out});
        operator.protect(&namespace, "all", spec);
        let mut pod = pod(&namespace, "web");
        pod["metadata"]["labels"]["picket.dev/protect"] = json!("false");
        let created = operator.kubectl().apply(&pod, false);
        assert_eq!(is_bare(&created), bare, "{opt_out}");
    }
}

#[test]
fn pods_of_the_operator_s_own_namespace_are_left_alone() {
    let operator = Operator::shared();
    let kubectl = operator.kubectl();
    let own = &operator.namespace;
    // The webhook configuration would not ask about it at all; this makes it.
    let label = format!("test.picket.dev/operator={own}");
    kubectl
        .run(&["label", "namespace", own, &label], "")
        .expect_success();
    let policy = operator.protect(own, "all", json!({"computeType": "Any"}));
    let message = &condition(&policy, "Accepted")["message"];
    assert!(
        message
            .as_str()
            .is_some_and(|text| text.contains("never injected")),
        "{message}"
    );
    assert!(is_bare(&kubectl.apply(&pod(own, "web"), false)));
    let metrics = operator.replicas[0].get("/metrics").expect("metrics").body;
    assert!(
        metrics.contains("reason=\"NamespaceExcluded\""),
        "{metrics}"
    );
}

#[test]
fn everything_else_in_the_pod_stays_as_it_was() {
    let operator = Operator::shared();
    let namespace = operator.protected("kept", &[]);
    let mut given = pod(&namespace, "web");
    given["metadata"]["annotations"] = json!({"example.com/note": "a\"b\\c\u{e9}"});
    let spec = &mut given["spec"];
    // Younger than the API types that Picket is compiled with.
    spec["hostnameOverride"] = json!("shop.example");
    spec["hostAliases"] = json!([{"ip": "127.0.0.1", "hostnames": ["db"]}]);
    spec["containers"][0]["env"] = json!([{"name": "A", "value": "$(B) $$"}]);
    spec["containers"][0]["lifecycle"] = json!({"stopSignal": "SIGUSR1"});
    spec["os"] = json!({"name": "linux"});
    spec["initContainers"] = json!([{
        "name": "migrate",
        "image": "registry.example/migrate:1",
        "command": ["/bin/migrate"],
        "resources": {"limits": {"memory": "100Mi"}},
    }]);
    spec["volumes"] = json!([{"name": "data", "emptyDir": {"medium": "Memory"}}]);

    let elsewhere = ControlPlane::shared().namespace("kept-bare", &[]);
    let mut same = given.clone();
    same["metadata"]["namespace"] = json!(elsewhere);
    let bare = operator.kubectl().apply(&same, false);
    let injected = operator.kubectl().apply(&given, false);
    assert_injected(&injected);
    assert_eq!(
        names(&injected, "initContainers"),
        ["picket-setup", "picket-agent", "migrate"]
    );
    assert_eq!(injected["spec"]["hostnameOverride"], "shop.example");
    assert_eq!(
        without_ours(&injected),
        without_ours(&bare),
        "something that is not ours changed"
    );
}

/// A pod without what Picket adds, and without what differs between any two
/// pods.
fn without_ours(pod: &Value) -> Value {
    let mut pod = pod.clone();
    let suffix = |name: &str| {
        // `kube-api-access-abcde` has a random end.
        name.strip_prefix("kube-api-access-")
            .map_or_else(|| name.to_owned(), |_| "kube-api-access".to_owned())
    };
    let spec = pod["spec"].as_object_mut().expect("spec");
    let volumes = spec["volumes"].as_array_mut().expect("volumes");
    volumes.retain(|volume| volume["name"] != "picket");
    volumes.sort_by_key(|volume| suffix(volume["name"].as_str().unwrap_or_default()));
    for volume in volumes {
        volume["name"] = json!(suffix(volume["name"].as_str().unwrap_or_default()));
    }
    for list in ["initContainers", "containers"] {
        let Some(containers) = spec.get_mut(list).and_then(Value::as_array_mut) else {
            continue;
        };
        containers.retain(|container| {
            !container["name"]
                .as_str()
                .unwrap_or_default()
                .starts_with("picket-")
        });
        for container in containers {
            let container = container.as_object_mut().expect("container");
            container.remove("command");
            container.remove("args");
            let mounts = container["volumeMounts"].as_array_mut().expect("mounts");
            mounts.retain(|mount| mount["name"] != "picket");
            for mount in mounts {
                mount["name"] = json!(suffix(mount["name"].as_str().unwrap_or_default()));
            }
        }
    }
    let annotations = pod["metadata"]["annotations"]
        .as_object_mut()
        .expect("annotations");
    annotations.remove("picket.dev/status");
    annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
    json!({
        "labels": pod["metadata"]["labels"],
        "annotations": pod["metadata"]["annotations"],
        "spec": pod["spec"],
    })
}

#[test]
fn a_restricted_namespace_admits_the_injected_pod() {
    let operator = Operator::shared();
    let restricted = [
        ("pod-security.kubernetes.io/enforce", "restricted"),
        ("pod-security.kubernetes.io/enforce-version", "latest"),
    ];
    let namespace = operator.protected("restricted", &restricted);
    let mut pod = pod(&namespace, "web");
    let refused = operator
        .kubectl()
        .run(&["apply", "-f", "-"], &pod.to_string());
    assert!(
        refused
            .stderr
            .contains("violates PodSecurity \"restricted:latest\""),
        "the namespace does not restrict anything: {}",
        refused.stderr
    );
    assert!(
        !refused.stderr.contains("picket-setup") && !refused.stderr.contains("picket-agent"),
        "a container of ours violates the standard: {}",
        refused.stderr
    );
    pod["spec"]["containers"][0]["securityContext"] = json!({
        "allowPrivilegeEscalation": false,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": true,
        "runAsUser": 1000,
        "seccompProfile": {"type": "RuntimeDefault"},
    });
    assert_injected(&operator.kubectl().apply(&pod, false));
}

#[test]
fn a_container_without_a_known_command_is_left_alone_and_told() {
    let operator = Operator::shared();
    let namespace = operator.protected("unknown", &[]);
    let mut pod = pod(&namespace, "web");
    let container = pod["spec"]["containers"][0]
        .as_object_mut()
        .expect("container");
    container.remove("command");
    container.remove("args");
    let output = operator
        .kubectl()
        .run(&["apply", "-f", "-", "-o", "json"], &pod.to_string())
        .expect_success();
    let web = &output.json()["spec"]["containers"][0];
    assert_eq!(web["command"], Value::Null);
    assert!(
        output.stderr.contains("Warning: picket:"),
        "no warning: {}",
        output.stderr
    );
    assert!(
        output.stderr.contains("EntrypointUnresolved"),
        "{}",
        output.stderr
    );
}

#[test]
fn a_namespace_labelled_for_enforcement_refuses_what_cannot_be_injected() {
    let operator = Operator::shared();
    let namespace = operator.namespace("enforced", &[("picket.dev/enforce", "true")]);
    let spec = json!({"computeType": "Any", "onInjectFailure": "Deny"});
    operator.protect(&namespace, "all", spec);
    assert_injected(&operator.kubectl().apply(&pod(&namespace, "web"), false));

    let mut unknown = pod(&namespace, "unknown");
    let container = unknown["spec"]["containers"][0].as_object_mut();
    container.expect("container").remove("command");
    let output = operator
        .kubectl()
        .run(&["apply", "-f", "-"], &unknown.to_string());
    assert!(!output.success, "admitted");
    assert!(
        output.stderr.contains("enforce.picket.dev")
            && output.stderr.contains("EntrypointUnresolved"),
        "{}",
        output.stderr
    );
}
