//! Who may use the break-glass label.

use picket_tests::kube::helm::Helm;
use picket_tests::kube::objects::{deployment, pod};
use picket_tests::kube::{ControlPlane, eventually};
use serde_json::{Value, json};

use crate::template;

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
