//! Every shape of pod where only a real API server knows the answer: limits and quotas, Pod
//! Security, other webhooks, ephemeral containers, policies of the cluster, Events.

use picket_tests::kube::objects::{assert_injected, condition, is_bare, names, pod};
use picket_tests::kube::{ControlPlane, Operator, OtherWebhook, eventually};
use serde_json::{Value, json};

/// The agent's container of an injected pod.
fn agent(pod: &Value) -> &Value {
    let inits = pod["spec"]["initContainers"].as_array();
    inits
        .into_iter()
        .flatten()
        .find(|container| container["name"] == "picket-agent")
        .unwrap_or_else(|| panic!("no agent in {pod:#}"))
}

/// A dry run, until the webhook has seen what the test has just made.
fn eventually_created(
    operator: &Operator,
    pod: &Value,
    what: &str,
    good: impl Fn(&Value) -> bool,
) -> Value {
    eventually(what, || {
        let output = operator.kubectl().run(
            &["apply", "-f", "-", "-o", "json", "--dry-run=server"],
            &pod.to_string(),
        );
        (output.success).then(|| output.json()).filter(&good)
    })
}

#[test]
fn a_limit_range_admits_the_injected_pod() {
    let operator = Operator::shared();
    let namespace = operator.protected("limits", &[]);
    let range = json!({
        "apiVersion": "v1",
        "kind": "LimitRange",
        "metadata": {"name": "limits", "namespace": namespace},
        "spec": {"limits": [
            {
                "type": "Container",
                "min": {"cpu": "20m", "memory": "80Mi"},
                "max": {"cpu": "1", "memory": "1Gi"},
                "default": {"cpu": "500m", "memory": "256Mi"},
                "defaultRequest": {"cpu": "100m", "memory": "128Mi"},
                "maxLimitRequestRatio": {"cpu": "10"},
            },
            {"type": "Pod", "max": {"memory": "400Mi"}},
        ]},
    });
    operator.kubectl().apply(&range, false);
    let web = pod(&namespace, "web");
    eventually_created(operator, &web, "the limit range is seen", |pod| {
        !is_bare(pod)
    });
    let injected = operator.kubectl().apply(&web, false);
    assert_injected(&injected);
    let resources = &agent(&injected)["resources"];
    assert_eq!(
        resources["requests"],
        json!({"cpu": "50m", "memory": "80Mi"}),
        "{resources:#}"
    );
    assert_eq!(
        resources["limits"],
        json!({"cpu": "500m", "memory": "128Mi"}),
        "{resources:#}"
    );
}

#[test]
fn a_quota_admits_the_injected_pod_or_the_pod_alone() {
    let operator = Operator::shared();
    let namespace = operator.protected("quota", &[]);
    let hard = json!({"requests.memory": "1Gi", "limits.cpu": "4", "limits.memory": "2Gi"});
    let quota = json!({
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "quota", "namespace": namespace},
        "spec": {"hard": hard},
    });
    let kubectl = operator.kubectl();
    kubectl.apply(&quota, false);
    // What the controller manager would do.
    let used = |used: Value| {
        let status = json!({"status": {"hard": hard, "used": used}});
        kubectl
            .run(
                &[
                    "patch",
                    "resourcequota",
                    "quota",
                    "-n",
                    &namespace,
                    "--subresource=status",
                    "--type=merge",
                    "-p",
                    &status.to_string(),
                ],
                "",
            )
            .expect_success();
    };
    used(json!({"requests.memory": "128Mi", "limits.cpu": "1", "limits.memory": "512Mi"}));
    let mut web = pod(&namespace, "web");
    web["spec"]["containers"][0]["resources"] =
        json!({"requests": {"memory": "128Mi"}, "limits": {"cpu": "1", "memory": "256Mi"}});
    eventually_created(operator, &web, "the quota is seen", |pod| !is_bare(pod));
    let injected = kubectl.apply(&web, false);
    assert_injected(&injected);
    // Without a CPU limit of its own the quota would have refused the agent.
    assert_eq!(agent(&injected)["resources"]["limits"]["cpu"], "100m");

    // Enough for the pod, too little for the agent.
    used(json!({"requests.memory": "890Mi", "limits.cpu": "1", "limits.memory": "512Mi"}));
    let mut second = web.clone();
    second["metadata"]["name"] = json!("second");
    eventually_created(operator, &second, "the used quota is seen", is_bare);
    let output = kubectl
        .run(&["apply", "-f", "-", "-o", "json"], &second.to_string())
        .expect_success();
    assert!(is_bare(&output.json()));
    assert!(
        output.stderr.contains("QuotaWouldRefuse"),
        "{}",
        output.stderr
    );
}

#[test]
fn the_webhook_of_aws_may_come_before_or_after() {
    let operator = Operator::shared();
    for prefix in ["0500-amazon-eks-fargate-mutation", "zzz-after-picket"] {
        let aws = OtherWebhook::of_aws(ControlPlane::shared(), prefix);
        let namespace = operator.namespace("aws", &[aws.label()]);
        operator.protect(&namespace, "fargate", json!({"computeType": "Fargate"}));
        let mut web = pod(&namespace, "web");
        web["spec"]["containers"][0]["resources"] =
            json!({"requests": {"cpu": "250m", "memory": "256Mi"}});
        let injected = operator.kubectl().apply(&web, false);
        assert_eq!(injected["spec"]["schedulerName"], "fargate-scheduler");
        assert_injected(&injected);
        let status = &injected["metadata"]["annotations"]["picket.dev/status"];
        let status: Value = serde_json::from_str(status.as_str().expect("status")).expect("JSON");
        assert_eq!(
            status["fargate"],
            json!({"before": "0.25vCPU 0.5GB", "after": "0.25vCPU 1GB"}),
            "{prefix}"
        );
    }
}

#[test]
fn what_other_injectors_add_is_traced_whether_they_come_before_or_after() {
    let operator = Operator::shared();
    for prefix in ["aaa-before-picket", "zzz-after-picket"] {
        let mesh = OtherWebhook::of_a_mesh(ControlPlane::shared(), prefix);
        let namespace = operator.protected("mesh", &[mesh.label()]);
        let injected = operator.kubectl().apply(&pod(&namespace, "web"), false);
        // Ours first again, although the mesh put its own before them.
        assert_injected(&injected);
        let inits = names(&injected, "initContainers");
        assert_eq!(inits, ["picket-setup", "picket-agent", "mesh-init"]);
        assert_eq!(names(&injected, "containers"), ["web", "mesh-proxy"]);
        for added in [
            &injected["spec"]["initContainers"][2],
            &injected["spec"]["containers"][1],
        ] {
            let own = format!("/{}", added["name"].as_str().expect("name"));
            assert_eq!(added["command"][0], "/picket/picket-tracer", "{added:#}");
            assert_eq!(added["args"], json!([own]), "{prefix}: {added:#}");
        }
    }
}

#[test]
fn a_policy_of_the_cluster_protects_the_namespaces_that_it_selects() {
    let operator = Operator::shared();
    let kubectl = operator.kubectl();
    let own = operator.namespace("team", &[("team", "floor")]);
    let other = operator.namespace("other", &[("team", "else")]);
    let name = format!("floor-{own}");
    kubectl.apply(
        &json!({
            "apiVersion": "picket.dev/v1alpha1",
            "kind": "ClusterProtectionPolicy",
            "metadata": {"name": name},
            "spec": {
                "computeType": "Any",
                "optOut": "Forbidden",
                "onInjectFailure": "Deny",
                // This test's namespaces only: there are others on this control plane.
                "namespaceSelector": {"matchLabels": {"team": "floor", "kubernetes.io/metadata.name": own}},
            },
        }),
        false,
    );
    let accepted_of = |kind: &str, namespace: &str, name: &str| {
        let policy = kubectl.get(kind, namespace, name)?;
        let accepted = condition(&policy, "Accepted");
        accepted.is_object().then_some(accepted)
    };
    let accepted = eventually("the policy is assessed", || {
        accepted_of("clusterprotectionpolicy", "default", &name)
    });
    assert_eq!(accepted["reason"], "DenyNotBacked", "{accepted:#}");
    let message = accepted["message"].as_str().unwrap_or_default();
    assert!(message.contains(&format!("`{own}`")), "{message}");

    let mut web = pod(&own, "web");
    web["metadata"]["labels"]["picket.dev/protect"] = json!("false");
    let injected = kubectl.apply(&web, false);
    assert_injected(&injected);
    assert!(is_bare(&kubectl.apply(&pod(&other, "web"), false)));

    // A policy of the namespace that would leave the pods alone loses, and both say so.
    operator.protect(
        &own,
        "alone",
        json!({"computeType": "Any", "mode": "Disabled", "priority": 1000}),
    );
    eventually("the conflict is shown", || {
        let loser = accepted_of("protectionpolicy", &own, "alone")?;
        let winner = accepted_of("clusterprotectionpolicy", "default", &name)?;
        let says = |condition: &Value, words: String| {
            condition["message"]
                .as_str()
                .is_some_and(|message| message.contains(&words))
        };
        (says(&loser, format!("loses to `{name}`"))
            && says(&winner, format!("wins over `{own}/alone`")))
        .then_some(())
    });
    assert_injected(&kubectl.apply(&pod(&own, "second"), false));

    // A label on the namespace is enough to bring it in and to back the refusal.
    kubectl
        .run(&["label", "namespace", &own, "picket.dev/enforce=true"], "")
        .expect_success();
    eventually("the refusal is backed", || {
        let condition = accepted_of("clusterprotectionpolicy", "default", &name)?;
        (condition["reason"] == "Accepted").then_some(())
    });
}

#[test]
fn ephemeral_containers_are_traced_where_they_are_covered() {
    let operator = Operator::shared();
    let kubectl = operator.kubectl();
    for (covered, in_policy) in [
        (
            true,
            json!({"computeType": "Any", "coverage": {"ephemeralContainers": true}}),
        ),
        (false, json!({"computeType": "Any"})),
    ] {
        let namespace = operator.namespace("debug", &[]);
        operator.protect(&namespace, "all", in_policy);
        assert_injected(&kubectl.apply(&pod(&namespace, "web"), false));
        kubectl
            .run(
                &[
                    "debug",
                    "web",
                    "-n",
                    &namespace,
                    "--image=registry.example/tools:1",
                    "--container=debugger",
                    "--attach=false",
                    "--",
                    "sh",
                    "-c",
                    "id",
                ],
                "",
            )
            .expect_success();
        let stored = kubectl.get("pod", &namespace, "web").expect("pod");
        let debugger = &stored["spec"]["ephemeralContainers"][0];
        assert_eq!(debugger["name"], "debugger", "{stored:#}");
        if covered {
            assert_eq!(debugger["command"][0], "/picket/picket-tracer");
            assert_eq!(debugger["args"], json!(["sh", "-c", "id"]));
            assert_eq!(debugger["volumeMounts"][0]["mountPath"], "/picket");
        } else {
            assert_eq!(debugger["command"], json!(["sh", "-c", "id"]));
        }
    }
}

#[test]
fn datadog_where_root_is_admitted_and_not_elsewhere() {
    let operator = Operator::shared();
    let kubectl = operator.kubectl();
    for (standard, injected) in [("baseline", true), ("restricted", false)] {
        let labels = [("pod-security.kubernetes.io/enforce", standard)];
        let namespace = operator.namespace("datadog", &labels);
        let spec = json!({"computeType": "Any", "provider": "Datadog"});
        operator.protect(&namespace, "all", spec);
        let mut web = pod(&namespace, "web");
        web["spec"]["serviceAccountName"] = json!("default");
        web["spec"]["containers"][0]["securityContext"] = json!({
            "allowPrivilegeEscalation": false,
            "capabilities": {"drop": ["ALL"]},
            "runAsNonRoot": true,
            "runAsUser": 1000,
            "seccompProfile": {"type": "RuntimeDefault"},
        });
        let output = kubectl
            .run(&["apply", "-f", "-", "-o", "json"], &web.to_string())
            .expect_success();
        let created = output.json();
        if injected {
            let agent = agent(&created);
            assert_eq!(agent["image"], "public.ecr.aws/datadog/agent:7");
            let command = &created["spec"]["containers"][0]["command"];
            assert_eq!(command[0], "/picket/cws-instrumentation", "{created:#}");
            assert_eq!(created["spec"]["serviceAccountName"], "default");
        } else {
            assert!(
                output.stderr.contains("PodSecurityConflict"),
                "{}",
                output.stderr
            );
            assert_eq!(names(&created, "initContainers"), [""; 0]);
        }
    }
}

#[test]
fn decisions_are_told_on_the_deployment() {
    let operator = Operator::shared();
    let kubectl = operator.kubectl();
    let namespace = operator.protected("events", &[]);
    let template = json!({
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "web", "image": "registry.example/web:1"}]},
    });
    let selector = json!({"matchLabels": {"app": "web"}});
    let owned_by = |api: &str, kind: &str, owner: &Value| {
        json!([{
            "apiVersion": api,
            "kind": kind,
            "name": owner["metadata"]["name"],
            "uid": owner["metadata"]["uid"],
            "controller": true,
        }])
    };
    let workload = |kind: &str, name: &str, owners: Value| {
        json!({
            "apiVersion": "apps/v1",
            "kind": kind,
            "metadata": {"name": name, "namespace": namespace, "ownerReferences": owners},
            "spec": {"replicas": 1, "selector": selector, "template": template},
        })
    };
    // What the controller manager would do.
    let deployment = kubectl.apply(&workload("Deployment", "web", json!([])), false);
    let owners = owned_by("apps/v1", "Deployment", &deployment);
    let set = kubectl.apply(&workload("ReplicaSet", "web-5d4f", owners), false);
    let mut unknown = template.clone();
    unknown["apiVersion"] = json!("v1");
    unknown["kind"] = json!("Pod");
    unknown["metadata"] = json!({
        "generateName": "web-5d4f-",
        "labels": {"app": "web"},
        "ownerReferences": owned_by("apps/v1", "ReplicaSet", &set),
    });
    kubectl
        .run(
            &["create", "-f", "-", "-n", &namespace],
            &unknown.to_string(),
        )
        .expect_success();
    let event = eventually("an event on the deployment", || {
        let uid = deployment["metadata"]["uid"].as_str().unwrap_or_default();
        let selector = format!("--field-selector=involvedObject.uid={uid}");
        let output = kubectl
            .run(
                &["get", "events", "-n", &namespace, &selector, "-o", "json"],
                "",
            )
            .expect_success();
        output.json()["items"].get(0).cloned()
    });
    assert_eq!(event["type"], "Warning");
    assert_eq!(event["reason"], "EntrypointUnresolved", "{event:#}");
    let message = event["message"].as_str().unwrap_or_default();
    assert!(message.contains("EntrypointUnresolved: "), "{message}");
}

#[test]
fn server_side_apply_and_undo_leave_templates_alone() {
    let operator = Operator::shared();
    let kubectl = operator.kubectl();
    let namespace = operator.protected("apply", &[]);
    let deployment = |image: &str| {
        let mut template = pod(&namespace, "");
        let template = template.as_object_mut().expect("pod");
        template.remove("apiVersion");
        template.remove("kind");
        template["metadata"] = json!({"labels": {"app": "web"}});
        template["spec"]["containers"][0]["image"] = json!(image);
        json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "web", "namespace": namespace},
            "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": template},
        })
    };
    let apply = |image: &str| {
        kubectl
            .run(
                &["apply", "--server-side", "-f", "-", "-o", "json"],
                &deployment(image).to_string(),
            )
            .expect_success()
            .json()
    };
    let first = apply("registry.example/web:1");
    let again = apply("registry.example/web:1");
    assert_eq!(
        first["metadata"]["resourceVersion"], again["metadata"]["resourceVersion"],
        "applying the same twice changes nothing"
    );
    assert!(is_bare(&again["spec"]["template"]), "{again:#}");

    // What the deployment controller would do with the two revisions.
    let second = apply("registry.example/web:2");
    for (revision, of) in [("1", &first), ("2", &second)] {
        let mut template = of["spec"]["template"].clone();
        template["metadata"]["labels"]["pod-template-hash"] = json!(revision);
        kubectl.apply(
            &json!({
                "apiVersion": "apps/v1",
                "kind": "ReplicaSet",
                "metadata": {
                    "name": format!("web-{revision}"),
                    "namespace": namespace,
                    "labels": {"app": "web"},
                    "annotations": {"deployment.kubernetes.io/revision": revision},
                    "ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": of["metadata"]["uid"], "controller": true}],
                },
                "spec": {"selector": {"matchLabels": {"app": "web", "pod-template-hash": revision}}, "template": template},
            }),
            false,
        );
        let mut one = template.clone();
        one["apiVersion"] = json!("v1");
        one["kind"] = json!("Pod");
        one["metadata"]["name"] = json!(format!("web-{revision}-a"));
        one["metadata"]["namespace"] = json!(namespace);
        assert_injected(&kubectl.apply(&one, false));
    }
    kubectl
        .run(&["rollout", "undo", "deployment/web", "-n", &namespace], "")
        .expect_success();
    let undone = kubectl
        .get("deployment", &namespace, "web")
        .expect("deployment");
    assert_eq!(
        undone["spec"]["template"]["spec"],
        first["spec"]["template"]["spec"]
    );
}
