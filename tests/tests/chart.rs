//! The chart, with Helm itself and a real API server.
#![allow(missing_docs)]

use std::process::Command;

use picket_tests::kube::helm::{Helm, chart};
use picket_tests::kube::objects::{deployment, pod};
use picket_tests::kube::{ControlPlane, Kubectl, eventually};
use picket_tests::product;
use serde_json::{Value, json};

const NAMESPACE: &str = "picket-system";

/// Everything that is off by default.
const ALL: &str = "backstop.mode=Deny,networkPolicy.enabled=true,monitoring.podMonitor.enabled=true,monitoring.rules.enabled=true,monitoring.dashboard.enabled=true,breakGlass.groups={oncall},priorityClassName=system-cluster-critical";

fn template(helm: &Helm, arguments: &[&str]) -> Vec<Value> {
    let chart = chart();
    let mut all = vec!["template", "picket", &chart, "-n", NAMESPACE];
    all.extend(["--kube-version", "1.34.0"]);
    all.extend(arguments);
    let text = helm.run(&all).expect_success().stdout;
    text.split("\n---")
        .map(|document| serde_saphyr::from_str(document).expect("YAML"))
        .filter(|object: &Value| object["kind"].is_string())
        .collect()
}

fn find<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let found = objects
        .iter()
        .find(|object| object["kind"] == kind && object["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("no {kind} {name}"))
}

#[test]
fn helm_finds_no_fault_with_it() {
    let helm = Helm::offline();
    for values in ["log=info", ALL] {
        helm.run(&["lint", "--strict", &chart(), "--set", values])
            .expect_success();
    }
}

#[test]
fn a_wrong_value_is_refused_with_its_key() {
    let helm = Helm::offline();
    for (values, expected) in [
        ("replicas=0", "/replicas"),
        (
            "webhook.port=10250",
            "webhook.port: 10250 belongs to kubelet",
        ),
        (
            "health.port=8443",
            "health.port: 8443 is webhook.port already",
        ),
        ("webhook.port=443", "/webhook/port"),
        (
            "relay.port=8443",
            "relay.port: 8443 is another server's port already",
        ),
        ("image.repository=a:1", "/image/repository"),
        ("sidecar.image.digest=latest", "/sidecar/image/digest"),
        ("injection.enabled=maybe", "/injection/enabled"),
        ("backstop.mode=deny", "/backstop/mode"),
        (
            "monitoring.podMonitor.interval=often",
            "/monitoring/podMonitor/interval",
        ),
        ("certificates.mode=cert-manager", "/certificates/mode"),
        (
            "certificates.secretName=mine",
            "certificates.secretName: only certificates.mode External",
        ),
        (
            "certificates.certManager.issuer.name=ours",
            "certificates.certManager.issuer.name: only certificates.mode CertManager",
        ),
        ("replica=3", "'replica' not allowed"),
        (
            "injection.suspendAfterSeconds=1",
            "/injection/suspendAfterSeconds",
        ),
        (
            "sidecar.revisions[0].revision=v2,sidecar.revisions[0].image=a:2",
            "/sidecar/revisions/0",
        ),
        (
            "sidecar.revision=v2,sidecar.revisions[0].revision=v2,sidecar.revisions[0].image=a:2,sidecar.revisions[0].namespaces={shop}",
            "sidecar.revisions[0].revision: v2 is the revision of all other namespaces too",
        ),
        (
            "imageResolution.pullSecrets=Namespaces",
            "imageResolution.namespaces: empty, but imageResolution.pullSecrets is Namespaces",
        ),
        (
            "imageResolution.namespaces={shop}",
            "imageResolution.namespaces: not looked at while imageResolution.pullSecrets is Off",
        ),
        (
            "imageResolution.enabled=false,imageResolution.credentialsSecret=pull",
            "imageResolution.enabled: false, but credentials",
        ),
        (
            "webhook.timeoutSeconds=2",
            "imageResolution.timeoutMilliseconds: 2000 is not less than webhook.timeoutSeconds",
        ),
    ] {
        let output = helm.run(&["template", &chart(), "--set", values]);
        assert!(!output.success, "{values}");
        assert!(
            output.stderr.contains(expected),
            "{values}: {}",
            output.stderr
        );
    }
}

#[test]
fn every_value_has_a_comment_and_a_place_in_the_schema() {
    let text = std::fs::read_to_string(format!("{}/values.yaml", chart())).expect("values");
    let lines: Vec<&str> = text.lines().collect();
    for (at, line) in lines.iter().enumerate() {
        let is_top = line.starts_with(|first: char| first.is_ascii_lowercase());
        if is_top && !lines[at - 1].is_empty() {
            let before = lines[at - 1];
            // Three that go together share a comment.
            let is_told =
                before.starts_with('#') || before.starts_with(|c: char| c.is_ascii_lowercase());
            assert!(is_told, "{line}");
        }
    }
    let values: Value = serde_saphyr::from_str(&text).expect("YAML");
    let schema =
        std::fs::read_to_string(format!("{}/values.schema.json", chart())).expect("schema");
    let schema: Value = serde_json::from_str(&schema).expect("JSON");
    for key in values.as_object().expect("a map").keys() {
        assert!(schema["properties"][key].is_object(), "{key}");
    }
}

/// What the control plane may do with this Secret, and the environment that says who keeps the
/// certificate.
fn certificate_of<'a>(objects: &'a [Value], name: &str) -> (Vec<&'a Value>, Vec<&'a Value>) {
    let rules = find(objects, "Role", "picket-operator")["rules"].as_array();
    let secrets = rules
        .expect("rules")
        .iter()
        .filter(|rule| rule["resources"] == json!(["secrets"]))
        .filter(|rule| rule["resourceNames"] == json!([name]))
        .map(|rule| &rule["verbs"]);
    let deployment = find(objects, "Deployment", "picket-operator");
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    let environment = container["env"].as_array().expect("env").iter();
    let ours = environment.filter(|variable| {
        let name = variable["name"].as_str().unwrap_or_default();
        name == "PICKET_CERTIFICATES" || name == "PICKET_CERTIFICATE_SECRET"
    });
    (
        secrets.collect(),
        ours.map(|variable| &variable["value"]).collect(),
    )
}

#[test]
fn a_certificate_that_somebody_else_keeps_is_only_read() {
    let helm = Helm::offline();
    let own = template(&helm, &[]);
    let (verbs, environment) = certificate_of(&own, "picket-webhook-certificate");
    assert_eq!(verbs, [&json!(["list", "watch", "update"])]);
    assert!(environment.is_empty());
    let external = template(
        &helm,
        &[
            "--set",
            "certificates.mode=External,certificates.secretName=mine",
        ],
    );
    let (verbs, environment) = certificate_of(&external, "mine");
    assert_eq!(environment, ["External", "mine"]);
    assert_eq!(verbs, [&json!(["list", "watch"])]);
    assert!(
        external
            .iter()
            .all(|object| object["kind"] != "Certificate")
    );
}

#[test]
fn cert_manager_is_asked_for_the_names_that_are_called() {
    let helm = Helm::offline();
    let values = "certificates.mode=CertManager,webhook.certificateNames={picket.example}";
    let objects = template(&helm, &["--set", values]);
    let (verbs, environment) = certificate_of(&objects, "picket-webhook-certificate");
    assert_eq!(environment, ["CertManager", "picket-webhook-certificate"]);
    assert_eq!(verbs, [&json!(["list", "watch"])]);
    let certificate = &find(&objects, "Certificate", "picket-webhook")["spec"];
    assert_eq!(certificate["secretName"], "picket-webhook-certificate");
    assert_eq!(
        certificate["dnsNames"],
        json!([
            "picket-webhook.picket-system.svc",
            "picket-webhook.picket-system.svc.cluster.local",
            "picket-relay.picket-system.svc",
            "picket-relay.picket-system.svc.cluster.local",
            "picket.example"
        ])
    );
    // The chart's own authority signs: self-signed, then an issuer that uses it.
    let authority = &find(&objects, "Certificate", "picket-authority")["spec"];
    assert_eq!(authority["isCA"], true);
    assert_eq!(authority["issuerRef"]["name"], "picket-self-signed");
    let issuer = &find(&objects, "Issuer", "picket-authority")["spec"];
    assert_eq!(issuer["ca"]["secretName"], authority["secretName"]);
    assert_eq!(certificate["issuerRef"]["name"], "picket-authority");
    // Or one of the user's.
    let values = "certificates.mode=CertManager,certificates.certManager.issuer.name=ours,certificates.certManager.issuer.kind=ClusterIssuer";
    let objects = template(&helm, &["--set", values]);
    assert!(objects.iter().all(|object| object["kind"] != "Issuer"));
    assert_eq!(
        find(&objects, "Certificate", "picket-webhook")["spec"]["issuerRef"],
        json!({"name": "ours", "kind": "ClusterIssuer", "group": "cert-manager.io"})
    );
}

#[test]
fn pods_of_the_chart_are_restricted_and_spread() {
    let objects = template(&Helm::offline(), &["--is-upgrade", "--set", ALL]);
    let deployment = find(&objects, "Deployment", "picket-operator");
    assert_eq!(deployment["spec"]["replicas"], 2);
    let spec = &deployment["spec"]["template"]["spec"];
    assert_eq!(spec["priorityClassName"], "system-cluster-critical");
    let keys: Vec<&Value> = spec["topologySpreadConstraints"]
        .as_array()
        .expect("spread")
        .iter()
        .map(|constraint| &constraint["topologyKey"])
        .collect();
    assert_eq!(
        keys,
        ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]
    );
    assert_eq!(
        find(&objects, "PodDisruptionBudget", "picket-operator")["spec"]["maxUnavailable"],
        1
    );

    // The admission plugin itself judges what is restricted.
    let control_plane = ControlPlane::shared();
    let labels = [("pod-security.kubernetes.io/enforce", "restricted")];
    let namespace = control_plane.namespace("restricted", &labels);
    for (kind, name) in [("Deployment", "picket-operator"), ("Job", "picket-crds")] {
        let template = &find(&objects, kind, name)["spec"]["template"];
        let mut spec = template["spec"].clone();
        spec.as_object_mut()
            .expect("spec")
            .remove("serviceAccountName");
        spec.as_object_mut()
            .expect("spec")
            .remove("priorityClassName");
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": namespace},
            "spec": spec,
        });
        control_plane.kubectl().apply(&pod, true);
    }
}

#[test]
fn every_metric_of_the_dashboard_and_the_alerts_is_documented_or_served() {
    let objects = template(&Helm::offline(), &["--set", ALL]);
    let dashboard = &find(&objects, "ConfigMap", "picket-dashboard")["data"]["picket.json"];
    let dashboard: Value = serde_json::from_str(dashboard.as_str().expect("text")).expect("JSON");
    let alerts = find(&objects, "PrometheusRule", "picket-operator");
    let text = format!("{dashboard} {alerts}");
    let served = include_str!("../../operator/src/metrics.rs");
    let coverage = include_str!("../../operator/src/coverage/gauges.rs");
    let admission = include_str!("../../webhook/src/admission/metrics.rs");
    let mut seen = 0;
    for word in text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')) {
        if !word.starts_with("picket_") {
            continue;
        }
        seen += 1;
        let base = word.trim_end_matches("_total").trim_end_matches("_bucket");
        let known = match base.strip_prefix("picket_admission_") {
            Some(short) => admission.contains(&format!("\"{short}\"")),
            None => [served, coverage]
                .iter()
                .any(|file| file.contains(&format!("\"{base}\""))),
        };
        assert!(known, "nobody serves {word}");
    }
    assert!(seen > 10);
}

#[test]
fn only_those_who_are_named_break_the_glass() {
    let control_plane = ControlPlane::with_controllers();
    let kubectl = control_plane.kubectl();
    let namespace = control_plane.namespace("glass", &[]);
    let values = "breakGlass.groups={oncall},breakGlass.users={pipeline}";
    for mut object in template(&Helm::offline(), &["--set", values]) {
        if object["metadata"]["name"] != "picket-break-glass" {
            continue;
        }
        // Other tests of this control plane are none of its business.
        if object["kind"] == "ValidatingAdmissionPolicyBinding" {
            let here = json!({"kubernetes.io/metadata.name": namespace});
            object["spec"]["matchResources"] = json!({"namespaceSelector": {"matchLabels": here}});
        }
        kubectl.apply(&object, false);
    }
    let role = format!("glass-{namespace}");
    kubectl
        .run(
            &[
                "create",
                "clusterrolebinding",
                &role,
                "--clusterrole=cluster-admin",
                "--user=dev",
                "--user=pipeline",
                "--group=oncall",
            ],
            "",
        )
        .expect_success();
    let verdict = |user: &[&str], verb: &str, object: &Value| {
        let mut arguments = vec![verb, "-f", "-", "--dry-run=server", "-n", &namespace];
        arguments.extend(user);
        let output = kubectl.run(&arguments, &object.to_string());
        output.success.then_some(()).ok_or(output.stderr)
    };
    let label = |object: &mut Value, at: &str, why: &str| {
        object.pointer_mut(at).expect("metadata")["labels"]["picket.dev/break-glass"] = json!(why);
    };
    let mut labelled = pod(&namespace, "web");
    label(&mut labelled, "/metadata", "INC-1");
    let mut workload = deployment(&namespace, "web", 1);
    let bare = workload.clone();
    label(&mut workload, "/spec/template/metadata", "INC-1");
    let cron = |labels: Value| {
        let spec = pod(&namespace, "cron")["spec"].clone();
        let mut template = json!({"metadata": {"labels": labels}, "spec": spec});
        template["spec"]["restartPolicy"] = json!("Never");
        json!({
            "apiVersion": "batch/v1", "kind": "CronJob",
            "metadata": {"name": "cron", "namespace": namespace},
            "spec": {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": {"template": template}}},
        })
    };
    let broken = cron(json!({"picket.dev/break-glass": "INC-1"}));

    let (dev, oncall) = (["--as=dev"], ["--as=night", "--as-group=oncall"]);
    eventually("the policy is in force", || {
        verdict(&dev, "create", &labelled).err()
    });
    for object in [&labelled, &workload, &broken] {
        let refused = verdict(&dev, "create", object).expect_err("may not");
        assert!(refused.contains("dev is not among those"), "{refused}");
        assert_eq!(verdict(&oncall, "create", object), Ok(()));
        assert_eq!(verdict(&["--as=pipeline"], "create", object), Ok(()));
    }
    for object in [&pod(&namespace, "web"), &bare, &cron(json!({}))] {
        assert_eq!(verdict(&dev, "create", object), Ok(()));
    }

    // What carries the label may be changed by others, but not get it from them; and its pods
    // are made by a controller, which nobody asked.
    kubectl.apply(&bare, false);
    assert!(verdict(&dev, "apply", &workload).is_err());
    kubectl.apply(&bare, true);
    let created = kubectl.run(
        &["apply", "-f", "-", "--as=night", "--as-group=oncall"],
        &workload.to_string(),
    );
    assert!(created.success, "{}", created.stderr);
    let mut scaled = workload.clone();
    scaled["spec"]["replicas"] = json!(2);
    assert_eq!(verdict(&dev, "apply", &scaled), Ok(()));
    label(&mut scaled, "/spec/template/metadata", "INC-2");
    assert!(verdict(&dev, "apply", &scaled).is_err());
    eventually("the controller has made the labelled pod", || {
        let selector = "picket.dev/break-glass=INC-1";
        let found = kubectl.run(
            &[
                "get", "pods", "-n", &namespace, "-l", selector, "-o", "name",
            ],
            "",
        );
        (!found.expect_success().stdout.is_empty()).then_some(())
    });
}

/// Whether the API server takes a bare pod; its answer otherwise.
fn try_pod(kubectl: &Kubectl, namespace: &str, name: &str) -> Result<String, String> {
    let output = kubectl.run(&["create", "-f", "-"], &pod(namespace, name).to_string());
    if output.success {
        Ok(output.stderr)
    } else {
        Err(output.stderr)
    }
}

/// Kinds and names of what carries the chart's label.
fn left(kubectl: &Kubectl) -> Vec<String> {
    let kinds = kubectl
        .run(&["api-resources", "--verbs=list,delete", "-o", "name"], "")
        .expect_success()
        .stdout;
    let kinds = kinds.split_whitespace().collect::<Vec<_>>().join(",");
    let arguments = [
        "get",
        &kinds,
        "-A",
        "-l",
        "app.kubernetes.io/name=picket",
        "-o",
        "name",
    ];
    let found = kubectl.run(&arguments, "").expect_success().stdout;
    found.lines().map(str::to_owned).collect()
}

/// One release from its first day to its last: the configuration is of the whole cluster, so
/// there can only be one.
#[test]
fn a_release_is_installed_switched_off_upgraded_and_removed() {
    let control_plane = ControlPlane::start().expect("a control plane of its own");
    let (helm, kubectl) = (Helm::of(&control_plane), control_plane.kubectl());
    let chart = chart();
    let enforced = control_plane.namespace("enforced", &[("picket.dev/enforce", "true")]);
    let other = control_plane.namespace("other", &[]);
    let release = |verb: &str, values: &str| {
        // Jobs need a controller: the hook's program runs below.
        let arguments = [
            verb,
            "picket",
            &chart,
            "-n",
            NAMESPACE,
            "--create-namespace",
            "--no-hooks",
            "--wait=hookOnly",
            "--set",
            values,
        ];
        let arguments = match verb {
            "install" => &arguments[..],
            _ => &[&arguments[..5], &arguments[6..]].concat()[..],
        };
        helm.run(arguments).expect_success()
    };

    let notes = release("install", "replicas=2").stdout;
    assert!(notes.contains("kind: ProtectionPolicy"), "{notes}");
    kubectl
        .run(
            &[
                "wait",
                "--for=condition=Established",
                "--timeout=60s",
                "crd/protectionpolicies.picket.dev",
            ],
            "",
        )
        .expect_success();

    // No pod of it runs here, so nobody answers: refused where the platform enforces, let in
    // elsewhere.
    let refused = eventually("the entries are in force", || {
        try_pod(&kubectl, &enforced, "a").err()
    });
    assert!(refused.contains("enforce.picket.dev"), "{refused}");
    assert_eq!(try_pod(&kubectl, &other, "a").map(|_| ()), Ok(()));

    // The kill switch needs nobody to answer.
    let before = std::time::Instant::now();
    release("upgrade", "injection.enabled=false");
    eventually("pods start again", || {
        try_pod(&kubectl, &enforced, "b").ok()
    });
    println!("the kill switch took {:?}, helm included", before.elapsed());

    // The backstop judges without a webhook.
    release("upgrade", "injection.enabled=false,backstop.mode=Audit");
    eventually("a warning", || {
        let name = format!("c{}", before.elapsed().as_millis());
        let warned = try_pod(&kubectl, &enforced, &name).ok()?;
        warned
            .contains("Picket did not inject this pod")
            .then_some(())
    });
    release("upgrade", "injection.enabled=false,backstop.mode=Deny");
    let refused = eventually("a refusal", || {
        let name = format!("d{}", before.elapsed().as_millis());
        try_pod(&kubectl, &enforced, &name).err()
    });
    assert!(refused.contains("there is no agent"), "{refused}");
    assert_eq!(try_pod(&kubectl, &other, "d").map(|_| ()), Ok(()));
    let mut injected = pod(&enforced, "e");
    let tracer = json!(["/picket/picket-tracer", "trace", "--"]);
    injected["spec"]["containers"][0]["command"] = tracer;
    injected["spec"]["initContainers"] = json!([{
        "name": "picket-agent", "image": "a", "restartPolicy": "Always",
    }]);
    kubectl.apply(&injected, true);

    the_hook_brings_crds_up_to_date(&control_plane, &helm);

    let policy = json!({
        "apiVersion": "picket.dev/v1alpha1", "kind": "ProtectionPolicy",
        "metadata": {"name": "mine", "namespace": other}, "spec": {"mode": "Monitor"},
    });
    kubectl.apply(&policy, false);
    helm.run(&["uninstall", "picket", "-n", NAMESPACE, "--no-hooks"])
        .expect_success();
    eventually("everything of the chart is gone", || {
        left(&kubectl).is_empty().then_some(())
    });
    assert!(
        kubectl.get("protectionpolicy", &other, "mine").is_some(),
        "the user's objects stay"
    );
    assert_eq!(try_pod(&kubectl, &enforced, "f").map(|_| ()), Ok(()));
}

/// Runs what the pre-upgrade job runs, with exactly its rights.
fn the_hook_brings_crds_up_to_date(control_plane: &ControlPlane, helm: &Helm) {
    let kubectl = control_plane.kubectl();
    for object in template(helm, &["--is-upgrade"]) {
        let kind = object["kind"].as_str().expect("kind");
        if object["metadata"]["name"] == "picket-crds" && kind != "Job" {
            kubectl.apply(&object, false);
        }
    }
    let token = kubectl
        .run(&["create", "token", "picket-crds", "-n", NAMESPACE], "")
        .expect_success();
    let kubeconfig = control_plane
        .write_kubeconfig("crds", token.stdout.trim())
        .expect("kubeconfig");
    let crds = |arguments: &[&str]| {
        let mut command = Command::new(product("picket"));
        command
            .args(["crds", "apply"])
            .args(arguments)
            .env("KUBECONFIG", &kubeconfig);
        let output = command.output().expect("picket starts");
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{errors}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    // As an older version might have left it.
    let field = "/spec/versions/0/additionalPrinterColumns";
    let patch = json!([{"op": "remove", "path": field}]).to_string();
    let definition = "crd/protectionpolicies.picket.dev";
    kubectl
        .run(&["patch", definition, "--type=json", "-p", &patch], "")
        .expect_success();
    let line = |answer: &str, word: &str| {
        answer.contains(&format!("protectionpolicies.picket.dev {word}"))
    };
    let tried = crds(&["--dry-run"]);
    assert!(line(&tried, "updated (dry run)"), "{tried}");
    let done = crds(&[]);
    assert!(line(&done, "updated"), "{done}");
    let again = crds(&[]);
    assert!(line(&again, "unchanged"), "{again}");
    for kind in ["clusterrolebinding", "clusterrole"] {
        kubectl
            .run(&["delete", kind, "picket-crds"], "")
            .expect_success();
    }
    kubectl
        .run(
            &["delete", "serviceaccount", "picket-crds", "-n", NAMESPACE],
            "",
        )
        .expect_success();
}
