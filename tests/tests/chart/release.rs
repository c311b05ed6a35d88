//! A release from its first day to its last.

use std::path::PathBuf;
use std::process::Command;

use picket_tests::kube::helm::{Helm, chart};
use picket_tests::kube::objects::pod;
use picket_tests::kube::{ControlPlane, Kubectl, eventually};
use picket_tests::product;
use serde_json::json;

use crate::{NAMESPACE, template};

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

    // What the notes give people to apply is taken.
    let policy = notes.split("<<'EOF'\n").nth(1).expect("a policy");
    let policy = policy.split("\n  EOF").next().expect("its text");
    let dry_run = ["apply", "--dry-run=server", "-n", &other, "-f", "-"];
    kubectl.run(&dry_run, policy).expect_success();

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

    // The backstop judges without a webhook: with the configuration deleted, nobody is asked.
    let without_webhook = |mode: &str| {
        release("upgrade", &format!("backstop.mode={mode}"));
        let configuration = "mutatingwebhookconfiguration/zz-picket";
        // The upgrade has brought it back.
        kubectl.run(&["delete", configuration], "").expect_success();
    };
    without_webhook("Audit");
    eventually("a warning", || {
        let name = format!("c{}", before.elapsed().as_millis());
        let warned = try_pod(&kubectl, &enforced, &name).ok()?;
        warned
            .contains("Picket did not inject this pod")
            .then_some(())
    });
    without_webhook("Deny");
    let refused = eventually("the backstop's refusal", || {
        let name = format!("d{}", before.elapsed().as_millis());
        let refused = try_pod(&kubectl, &enforced, &name).err()?;
        refused.contains("there is no agent").then_some(refused)
    });
    assert!(refused.contains("picket-backstop"), "{refused}");
    assert_eq!(try_pod(&kubectl, &other, "d").map(|_| ()), Ok(()));
    let mut injected = pod(&enforced, "e");
    let tracer = json!(["/picket/picket-tracer", "trace", "--"]);
    injected["spec"]["containers"][0]["command"] = tracer;
    injected["spec"]["initContainers"] = json!([{
        "name": "picket-agent", "image": "a", "restartPolicy": "Always",
    }]);
    kubectl.apply(&injected, true);
    // Whoever needs it off now has it off, the backstop included.
    release("upgrade", "injection.enabled=false,backstop.mode=Deny");
    eventually("pods start in spite of the backstop", || {
        let name = format!("k{}", before.elapsed().as_millis());
        try_pod(&kubectl, &enforced, &name).ok()
    });

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
    // Nothing of the cluster's own kinds has our name either; the definitions stay.
    let ours: Vec<String> = named_like_ours(&kubectl);
    assert_eq!(
        ours,
        [
            "customresourcedefinition.apiextensions.k8s.io/clusterprotectionpolicies.picket.dev",
            "customresourcedefinition.apiextensions.k8s.io/coveragereports.picket.dev",
            "customresourcedefinition.apiextensions.k8s.io/protectionpolicies.picket.dev",
            "customresourcedefinition.apiextensions.k8s.io/rulesets.picket.dev",
        ]
    );
    assert!(
        kubectl.get("protectionpolicy", &other, "mine").is_some(),
        "the user's objects stay"
    );
    assert_eq!(try_pod(&kubectl, &enforced, "f").map(|_| ()), Ok(()));
    where_nothing_is_to_be_kept_the_definitions_go_too(&control_plane, &helm);
}

/// Objects of the whole cluster that are called as ours are.
fn named_like_ours(kubectl: &Kubectl) -> Vec<String> {
    let listing = [
        "api-resources",
        "--namespaced=false",
        "--verbs=list,delete",
        "-o",
        "name",
    ];
    let kinds = kubectl.run(&listing, "").expect_success().stdout;
    let kinds = kinds.split_whitespace().collect::<Vec<_>>().join(",");
    let all = kubectl.run(&["get", &kinds, "-o", "name"], "");
    let all = all.expect_success().stdout;
    let mut ours: Vec<String> = all
        .lines()
        .filter(|name| name.contains("picket") && *name != "namespace/picket-system")
        // The API server's own note that the definitions are there.
        .filter(|name| !name.starts_with("apiservice."))
        .map(str::to_owned)
        .collect();
    ours.sort();
    ours
}

/// Runs what the job after an uninstallation with `crds.keep: false` runs, with exactly its rights.
fn where_nothing_is_to_be_kept_the_definitions_go_too(control_plane: &ControlPlane, helm: &Helm) {
    let kubectl = control_plane.kubectl();
    let kubeconfig = account(
        control_plane,
        helm,
        "picket-crds-removal",
        "crds.keep=false",
    );
    let delete = |arguments: &[&str]| {
        let mut command = Command::new(product("picket"));
        command.args(["crds", "delete"]).args(arguments);
        command.env("KUBECONFIG", &kubeconfig);
        command.output().expect("picket starts")
    };
    assert!(!delete(&[]).status.success(), "only when it is meant");
    for word in ["deleted", "not there"] {
        let output = delete(&["--yes"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{output:?}");
        assert_eq!(
            text.matches(&format!(".picket.dev {word}")).count(),
            4,
            "{text}"
        );
        eventually("the definitions are gone", || {
            let listing = ["get", "customresourcedefinitions", "-o", "name"];
            let left = kubectl.run(&listing, "").expect_success().stdout;
            (!left.contains("picket.dev")).then_some(())
        });
    }
}

/// Makes the service account of a hook as the chart does; returns a kubeconfig for it.
fn account(control_plane: &ControlPlane, helm: &Helm, name: &str, values: &str) -> PathBuf {
    let kubectl = control_plane.kubectl();
    for object in template(helm, &["--is-upgrade", "--set", values]) {
        let kind = object["kind"].as_str().expect("kind");
        if object["metadata"]["name"] == name && kind != "Job" {
            kubectl.apply(&object, false);
        }
    }
    let token = kubectl
        .run(&["create", "token", name, "-n", NAMESPACE], "")
        .expect_success();
    control_plane
        .write_kubeconfig(name, token.stdout.trim())
        .expect("kubeconfig")
}

/// Runs what the pre-upgrade job runs, with exactly its rights.
fn the_hook_brings_crds_up_to_date(control_plane: &ControlPlane, helm: &Helm) {
    let kubectl = control_plane.kubectl();
    let kubeconfig = account(control_plane, helm, "picket-crds", "crds.upgrade=true");
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
    // One that an older version did not have yet.
    let missing = ["delete", "crd/coveragereports.picket.dev"];
    kubectl.run(&missing, "").expect_success();
    let tried = crds(&["--dry-run"]);
    assert!(line(&tried, "updated (dry run)"), "{tried}");
    let done = crds(&[]);
    assert!(line(&done, "updated"), "{done}");
    assert!(
        done.contains("coveragereports.picket.dev created"),
        "{done}"
    );
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
