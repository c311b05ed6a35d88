//! Pods that are cut off, and come back.

use picket_tests::kube::coverage::{available, reasons, row};
use picket_tests::kube::eventually;
use picket_tests::kube::objects::{deployment, job, pod, stateful_set};
use serde_json::json;

use crate::{kubelet, operator};

#[test]
fn a_pod_in_quarantine_is_replaced_kept_and_can_come_back() {
    let operator = operator();
    let kubectl = operator.kubectl();
    let namespace = operator.protected("quarantine", &[]);
    let _kubelet = kubelet(&namespace);
    kubectl.apply(&deployment(&namespace, "web", 1), false);
    available(&kubectl, &namespace, "web", 1);
    let list = |selector: &str| -> Vec<String> {
        let list = [
            "get", "pods", "-n", &namespace, "-l", selector, "-o", "name",
        ];
        let names = kubectl.run(&list, "").expect_success().stdout;
        names.lines().map(str::to_owned).collect()
    };
    let suspect = list("app=web").remove(0);
    let annotate = |value: &str| {
        let key = format!("picket.dev/quarantine{value}");
        kubectl
            .run(&["annotate", &suspect, "-n", &namespace, &key], "")
            .expect_success();
    };
    annotate("=true");
    let replacement = eventually("its controller makes another", || {
        let pods = list("app=web");
        (pods.len() == 1 && pods[0] != suspect).then(|| pods[0].clone())
    });
    let name = suspect.trim_start_matches("pod/");
    let kept = eventually("its controller lets it go", || {
        let kept = kubectl.get("pod", &namespace, name).expect("it is kept");
        kept["metadata"]["ownerReferences"]
            .is_null()
            .then_some(kept)
    });
    assert_eq!(kept["status"]["phase"], "Running");
    let policies = ["get", "networkpolicies", "-n", &namespace, "-o", "json"];
    let policy = kubectl.run(&policies, "").expect_success().json()["items"][0].clone();
    let selected = &policy["spec"]["podSelector"]["matchLabels"]["picket.dev/quarantined"];
    assert_eq!(*selected, kept["metadata"]["uid"]);
    eventually("an event tells of it", || {
        let told = reasons(&kubectl, &namespace, name);
        told.contains(&"Quarantined".to_owned()).then_some(())
    });
    let at = (namespace.as_str(), "Pod", name);
    row(&kubectl, at, |row| row["quarantined"] == json!([name]));

    annotate("-");
    eventually(
        "its labels are what they were, unless it has ended already",
        || {
            let Some(back) = kubectl.get("pod", &namespace, name) else {
                return Some(());
            };
            let metadata = &back["metadata"];
            let undone = metadata["annotations"]["picket.dev/quarantined-labels"].is_null()
                && metadata["labels"]["picket.dev/quarantined"].is_null()
                && metadata["labels"]["app"] == "web";
            undone.then_some(())
        },
    );
    let none = kubectl.run(&policies, "").expect_success().json();
    assert_eq!(none["items"], json!([]));
    eventually("it is taken back, and one of both ends", || {
        let pods = list("app=web");
        (pods.len() == 1 && (pods[0] == suspect || pods[0] == replacement)).then_some(())
    });
}

#[test]
fn pods_of_every_kind_can_be_put_into_quarantine_and_taken_out() {
    let operator = operator();
    let kubectl = operator.kubectl();
    let namespace = operator.protected("kinds-cut", &[]);
    let _kubelet = kubelet(&namespace);
    kubectl.apply(&stateful_set(&namespace, "db"), false);
    kubectl.apply(&job(&namespace, "nightly"), false);
    let mut on_fargate = pod(&namespace, "on-fargate");
    on_fargate["metadata"]["labels"]["eks.amazonaws.com/fargate-profile"] = json!("all");
    kubectl.apply(&on_fargate, false);
    let job_pod = eventually("the Job has a pod", || {
        let list = [
            "get",
            "pods",
            "-n",
            &namespace,
            "-l",
            "job-name=nightly",
            "-o",
            "name",
        ];
        let names = kubectl.run(&list, "").expect_success().stdout;
        names
            .lines()
            .next()
            .map(|name| name.trim_start_matches("pod/").to_owned())
    });
    let get = |name: &str| kubectl.get("pod", &namespace, name);
    for (name, network_policy) in [("db-0", true), (&job_pod, true), ("on-fargate", false)] {
        let before = eventually("the pod runs", || {
            get(name).filter(|pod| pod["status"]["phase"] == "Running")
        });
        let set = |annotation: &str| {
            let command = ["annotate", "pod", name, "-n", &namespace, annotation];
            kubectl.run(&command, "").expect_success();
        };
        set("picket.dev/quarantine=true");
        let cut = eventually("its labels are away", || {
            let pod = get(name)?;
            let there = &pod["metadata"]["labels"]["picket.dev/quarantined"];
            (*there == before["metadata"]["uid"]).then_some(pod)
        });
        assert!(cut["metadata"]["labels"]["app"].is_null(), "{cut:#}");
        let policy = format!("picket-quarantine-{name}");
        // On Fargate nobody would enforce one; elsewhere it is made before the labels go.
        let policy = kubectl.get("networkpolicy", &namespace, &policy);
        assert_eq!(policy.is_some(), network_policy, "{name}");
        eventually("an event says by what it is cut off", || {
            let list = ["get", "events", "-n", &namespace, "-o", "json"];
            let events = kubectl.run(&list, "").expect_success().json();
            let mut events = events["items"].as_array()?.clone().into_iter();
            let told = events.find(|event| {
                event["involvedObject"]["uid"] == before["metadata"]["uid"]
                    && event["reason"] == "Quarantined"
            })?;
            let message = told["message"].as_str()?;
            (message.contains("NetworkPolicy") == network_policy).then_some(())
        });
        set("picket.dev/quarantine-");
        eventually(
            "it has its labels again, unless its Job has replaced it",
            || {
                let Some(pod) =
                    get(name).filter(|pod| pod["metadata"]["uid"] == before["metadata"]["uid"])
                else {
                    return Some(());
                };
                let labels = &pod["metadata"]["labels"];
                (labels["app"] == before["metadata"]["labels"]["app"]
                    && labels["picket.dev/quarantined"].is_null())
                .then_some(())
            },
        );
    }
    // A StatefulSet takes its pod back as it was: nobody else has the name.
    let back = eventually("the StatefulSet has its pod", || {
        let pod = get("db-0")?;
        let owner = &pod["metadata"]["ownerReferences"][0]["name"];
        (*owner == "db").then_some(pod)
    });
    assert_eq!(back["status"]["phase"], "Running");
}
