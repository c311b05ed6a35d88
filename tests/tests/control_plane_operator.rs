//! The operator as a process: certificates, leadership, rights, and what
//! happens when it is gone.

use picket_tests::kube::objects::{assert_injected, condition, is_bare, metrics_api, pod};
use picket_tests::kube::{ControlPlane, Operator, Options, eventually};
use serde_json::{Value, json};

fn install(replicas: usize) -> Operator {
    let options = Options {
        replicas,
        ..Options::default()
    };
    Operator::install(ControlPlane::shared(), &options)
}

/// Who holds the operator's Lease.
fn leader(operator: &Operator) -> Option<String> {
    let lease = operator
        .kubectl()
        .get("lease", &operator.namespace, "picket-operator")?;
    lease["spec"]["holderIdentity"].as_str().map(str::to_owned)
}

/// Overwrites the caBundle of every entry.
fn overwrite_bundles(operator: &Operator, bundle: &Value) {
    let patch: Vec<Value> = (0..2)
        .map(|entry| {
            let path = format!("/webhooks/{entry}/clientConfig/caBundle");
            if bundle.is_null() {
                json!({"op": "remove", "path": path})
            } else {
                json!({"op": "replace", "path": path, "value": bundle})
            }
        })
        .collect();
    operator
        .kubectl()
        .run(
            &[
                "patch",
                "mutatingwebhookconfiguration",
                &operator.configuration,
                "--type=json",
                "-p",
                &json!(patch).to_string(),
            ],
            "",
        )
        .expect_success();
}

#[test]
fn an_overwritten_ca_bundle_is_restored() {
    let operator = install(1);
    let trust = operator.trust().expect("published before it is ready");
    // A valid PEM of somebody else's, and nothing at all.
    let other = install(1).trust().expect("published");
    let other = serde_json::to_value(k8s_openapi::ByteString(other)).expect("base64");
    for bundle in [other, Value::Null] {
        overwrite_bundles(&operator, &bundle);
        eventually("the caBundle is restored", || {
            (operator.trust().as_ref() == Some(&trust)).then_some(())
        });
    }
    let namespace = operator.protected("restored", &[]);
    assert_injected(&operator.kubectl().apply(&pod(&namespace, "web"), false));
}

#[test]
fn the_operator_owns_nothing_of_the_configuration_but_the_ca_bundle() {
    let operator = Operator::shared();
    let configuration = operator
        .kubectl()
        .run(
            &[
                "get",
                "mutatingwebhookconfiguration",
                &operator.configuration,
                "-o",
                "json",
                "--show-managed-fields",
            ],
            "",
        )
        .expect_success()
        .json();
    let managers = configuration["metadata"]["managedFields"].as_array();
    let ours = managers
        .expect("managed fields")
        .iter()
        .find(|manager| manager["manager"] == "picket-ca")
        .expect("a field manager of its own");
    let entry = json!({".": {}, "f:name": {}, "f:clientConfig": {"f:caBundle": {}}});
    let owned = &ours["fieldsV1"];
    assert_eq!(ours["operation"], "Apply");
    let entries = owned["f:webhooks"].as_object().expect("entries");
    assert_eq!(entries.len(), 3, "{owned:#}");
    for owned in entries.values() {
        let mut owned = owned.clone();
        // The key of the list entry may be listed as owned or not.
        owned["."] = json!({});
        owned["f:name"] = json!({});
        assert_eq!(owned, entry);
    }
    assert_eq!(owned.as_object().expect("fields").len(), 1, "{owned:#}");
}

#[test]
fn a_lost_certificate_secret_is_made_anew() {
    let operator = install(1);
    let before = operator.trust().expect("published");
    operator
        .kubectl()
        .run(
            &[
                "delete",
                "secret",
                "picket-webhook-certificate",
                "-n",
                &operator.namespace,
            ],
            "",
        )
        .expect_success();
    eventually("another authority is published", || {
        (operator.trust()? != before).then_some(())
    });
    operator.replicas[0].wait_until_ready();
    let namespace = operator.protected("renewed", &[]);
    assert_injected(&operator.kubectl().apply(&pod(&namespace, "web"), false));
}

#[test]
fn replicas_share_the_certificate_and_hand_over_the_lead() {
    let operator = install(2);
    let trust = operator.trust().expect("published");
    for replica in &operator.replicas {
        let answer = replica.post("/mutate", "{}", &trust);
        assert_eq!(answer.expect("trusted by both").status, 400);
    }
    let first = leader(&operator).expect("one leads");
    let (dead, alive) = if first.ends_with("-0") {
        (0, 1)
    } else {
        (1, 0)
    };
    operator.replicas[dead].process().signal("KILL");
    overwrite_bundles(&operator, &Value::Null);
    eventually("the other replica leads and restores the caBundle", || {
        let led = leader(&operator).is_some_and(|leader| leader != first);
        (led && operator.trust().as_ref() == Some(&trust)).then_some(())
    });
    let metrics = operator.replicas[alive]
        .get("/metrics")
        .expect("metrics")
        .body;
    assert!(
        metrics.contains("\npicket_operator_leading 1\n"),
        "{metrics}"
    );
}

#[test]
fn without_an_operator_pods_start_bare_unless_the_namespace_enforces() {
    let operator = install(1);
    let namespace = operator.protected("outage", &[]);
    let enforced = operator.protected("outage-enforced", &[("picket.dev/enforce", "true")]);
    let kubectl = operator.kubectl();
    assert_injected(&kubectl.apply(&pod(&namespace, "before"), false));
    operator.replicas[0].process().signal("KILL");
    eventually("the process is gone", || {
        (!operator.replicas[0].process().is_running()).then_some(())
    });
    assert!(is_bare(&kubectl.apply(&pod(&namespace, "during"), false)));
    let refused = kubectl.run(&["apply", "-f", "-"], &pod(&enforced, "during").to_string());
    assert!(!refused.success, "admitted without protection");
    assert!(
        refused
            .stderr
            .contains("failed calling webhook \"enforce.picket.dev\""),
        "{}",
        refused.stderr
    );
}

#[test]
fn the_operator_survives_a_restart_of_the_api_server() {
    let control_plane = ControlPlane::start().unwrap_or_else(|error| panic!("{error}"));
    let control_plane: &'static ControlPlane = Box::leak(Box::new(control_plane));
    let operator = Operator::install(control_plane, &Options::default());
    let before = operator.protected("before", &[]);
    control_plane
        .restart_api_server()
        .unwrap_or_else(|error| panic!("{error}"));
    assert_injected(&operator.kubectl().apply(&pod(&before, "web"), false));
    // A policy that is written now is seen: the watch goes on.
    let after = operator.protected("after", &[]);
    assert_injected(&operator.kubectl().apply(&pod(&after, "web"), false));
    assert!(operator.replicas[0].process().is_running());
}

#[test]
fn a_stopped_operator_gives_up_the_lease_and_ends() {
    let operator = install(1);
    assert!(leader(&operator).is_some());
    operator.replicas[0].process().signal("TERM");
    eventually("the process ends", || {
        (!operator.replicas[0].process().is_running()).then_some(())
    });
    assert_eq!(leader(&operator), None);
    let log = operator.replicas[0].process().log();
    assert!(log.contains("\"message\":\"stopping\""), "{log}");
    assert!(!log.contains("\"level\":\"ERROR\""), "{log}");
}

#[test]
fn a_malformed_review_gets_400_with_the_path_of_the_fault() {
    let operator = Operator::shared();
    let trust = operator.trust().expect("published");
    let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"});
    let mut number = review.clone();
    number["request"] = json!({"uid": 7});
    for (body, path) in [
        (String::new(), "."),
        ("[]".to_owned(), "."),
        (review.to_string(), "."),
        (number.to_string(), "request.uid"),
    ] {
        for entry in ["/mutate", "/mutate/enforce"] {
            let answer = operator.replicas[0]
                .post(entry, &body, &trust)
                .expect("answer");
            assert_eq!(answer.status, 400, "{body}: {answer:?}");
            let fault: Value = serde_json::from_str(&answer.body).expect("JSON");
            assert_eq!(fault["path"], path, "{body}: {fault}");
            assert!(fault["message"].is_string(), "{body}: {fault}");
        }
    }
}

#[test]
fn the_log_is_json_and_holds_no_key() {
    let operator = Operator::shared();
    let log = operator.replicas[0].process().log();
    assert!(!log.is_empty());
    for line in log.lines() {
        let entry: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
        assert!(
            entry["timestamp"].is_string() && entry["level"].is_string(),
            "{line}"
        );
    }
    assert!(!log.contains("PRIVATE"), "{log}");
}

#[test]
fn the_operator_may_do_no_more_than_it_needs() {
    let operator = Operator::shared();
    let own = operator.namespace.as_str();
    let user = format!("--as=system:serviceaccount:{own}:picket-operator");
    let configuration = format!("mutatingwebhookconfiguration/{}", operator.configuration);
    let cases = [
        ("list", "protectionpolicies.picket.dev", "default", true),
        ("patch", "protectionpolicies.picket.dev", "default", false),
        ("delete", "protectionpolicies.picket.dev", "default", false),
        ("patch", &configuration, "", true),
        ("delete", &configuration, "", false),
        ("patch", "mutatingwebhookconfiguration/other", "", false),
        ("create", "mutatingwebhookconfigurations", "", false),
        ("update", "secret/picket-webhook-certificate", own, true),
        ("get", "secret/other", own, false),
        ("list", "secrets", own, false),
        ("list", "secrets", "default", false),
        ("create", "secrets", "default", false),
        ("list", "pods", "default", true),
        ("patch", "pods", "default", false),
        ("list", "configmaps", "default", false),
        ("create", "rulesets.picket.dev/other", "", false),
        ("patch", "rulesets.picket.dev/other", "", false),
        ("create", "pods", own, false),
        ("delete", "pods", "default", false),
        ("get", "configmap/other", own, false),
        ("patch", "configmap/picket-suspensions", own, true),
        ("patch", "configmap/picket-suspensions", "default", false),
        ("patch", "namespaces", "", false),
        ("list", "clusterprotectionpolicies.picket.dev", "", true),
        ("patch", "clusterprotectionpolicies.picket.dev", "", false),
        ("list", "resourcequotas", "default", true),
        ("patch", "resourcequotas", "default", false),
        ("create", "events.events.k8s.io", "default", true),
        ("list", "events.events.k8s.io", "default", false),
        ("list", "replicasets.apps", "default", false),
    ];
    for (verb, resource, namespace, expected) in cases {
        let mut arguments = vec!["auth", "can-i", verb, resource, &user];
        if !namespace.is_empty() {
            arguments.extend(["-n", namespace]);
        }
        let answer = operator.kubectl().run(&arguments, "");
        assert_eq!(
            answer.stdout.trim() == "yes",
            expected,
            "{verb} {resource} in {namespace:?}: {answer:?}"
        );
    }
}

/// A metrics-server that is down leaves an API group that nobody serves: API servers wait for its
/// answer in vain, and tell of it whenever they are asked what there is.
#[test]
fn an_aggregated_api_that_nobody_serves_keeps_the_operator_from_nothing() {
    let control_plane = ControlPlane::start().expect("a control plane of its own");
    let control_plane: &'static ControlPlane = Box::leak(Box::new(control_plane));
    let kubectl = control_plane.kubectl();
    let service = json!({"name": "metrics-server", "namespace": "kube-system", "port": 443});
    kubectl.apply(
        &json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "metrics-server", "namespace": "kube-system"},
            "spec": {"ports": [{"port": 443}]},
        }),
        false,
    );
    kubectl.apply(
        &json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": "metrics-server",
                "namespace": "kube-system",
                "labels": {"kubernetes.io/service-name": "metrics-server"},
            },
            "addressType": "IPv4",
            "ports": [{"port": 443}],
            // Of no network: nobody answers, not even with a refusal.
            "endpoints": [{"addresses": ["192.0.2.1"], "conditions": {"ready": true}}],
        }),
        false,
    );
    kubectl.apply(
        &metrics_api(&service, ("insecureSkipTLSVerify", json!(true))),
        false,
    );
    eventually("the API server knows that nobody serves it", || {
        let group = kubectl.get("apiservice", "", "v1beta1.metrics.k8s.io")?;
        (condition(&group, "Available")["status"] == "False").then_some(())
    });

    let operator = Operator::install(control_plane, &Options::default());
    let namespace = operator.protected("shop", &[]);
    assert_injected(&operator.kubectl().apply(&pod(&namespace, "web"), false));
}
