//! What is protected, what is not, and why: as the API server shows it, with real controllers and
//! a mock of kubelet.

use std::sync::OnceLock;

use picket_tests::kube::coverage::{has_gap, row};
use picket_tests::kube::kubelet::{Ailment, Fault, Patient};
use picket_tests::kube::objects::{condition, deployment, pod};
use picket_tests::kube::{ControlPlane, Kubectl, Kubelet, Operator, Options, eventually};
use serde_json::{Value, json};

fn operator() -> &'static Operator {
    static SHARED: OnceLock<Operator> = OnceLock::new();
    let options = || Options {
        arguments: vec!["--quarantine=true".to_owned()],
        further_rules: vec!["quarantine.yaml"],
        ..Options::default()
    };
    SHARED.get_or_init(|| Operator::install(ControlPlane::with_controllers(), &options()))
}

fn kubelet(namespace: &str) -> Kubelet {
    Kubelet::start(ControlPlane::with_controllers(), namespace)
}

fn is(row: &Value, state: &str, pods: [u32; 4]) -> bool {
    let [total, injected, current, reporting] = pods;
    row["state"] == state
        && row["pods"]
            == json!({"total": total, "injected": injected, "current": current, "reporting": reporting})
}

fn available(kubectl: &Kubectl, namespace: &str, name: &str, replicas: u32) {
    eventually(&format!("{namespace}/{name} is available"), || {
        let deployment = kubectl.get("deployment", namespace, name)?;
        (deployment["status"]["availableReplicas"] == replicas).then_some(())
    });
}

/// Reasons of the events about an object.
fn reasons(kubectl: &Kubectl, namespace: &str, name: &str) -> Vec<String> {
    let list = ["get", "events", "-n", namespace, "-o", "json"];
    let events = kubectl.run(&list, "").expect_success().json();
    let events = events["items"].as_array().cloned().unwrap_or_default();
    let about = events
        .iter()
        .filter(|event| event["involvedObject"]["name"] == name);
    about
        .filter_map(|event| event["reason"].as_str().map(str::to_owned))
        .collect()
}

#[test]
fn a_workload_older_than_its_policy_is_a_gap_until_it_is_restarted() {
    let operator = operator();
    let kubectl = operator.kubectl();
    let namespace = operator.namespace("coverage", &[]);
    let _kubelet = kubelet(&namespace);
    kubectl.apply(&deployment(&namespace, "web", 2), false);
    available(&kubectl, &namespace, "web", 2);
    operator.protect(&namespace, "all", json!({"computeType": "Any"}));

    let web = (namespace.as_str(), "Deployment", "web");
    let bare = row(&kubectl, web, |row| is(row, "Unhealthy", [2, 0, 0, 0]));
    assert_eq!(bare["policy"], format!("{namespace}/all"));
    assert_eq!(bare["gaps"][0]["gap"], "Uninjected");
    assert_eq!(bare["gaps"][0]["pods"], 2);
    let said = eventually("the policy says that nothing is covered", || {
        let policy = kubectl.get("protectionpolicy", &namespace, "all")?;
        (condition(&policy, "Covered")["status"] == "False").then_some(policy)
    });
    assert_eq!(condition(&said, "Covered")["reason"], "Gaps");
    assert_eq!(condition(&said, "Accepted")["status"], "True");
    assert_eq!(said["status"]["coverage"]["total"], 2);

    let restart = ["rollout", "restart", "deployment/web", "-n", &namespace];
    kubectl.run(&restart, "").expect_success();
    let covered = row(&kubectl, web, |row| is(row, "Healthy", [2, 2, 2, 2]));
    let gaps = covered["gaps"].as_array().expect("a list");
    assert_eq!(
        (gaps.len(), &gaps[0]["gap"]),
        (1, &json!("Exec")),
        "{covered:#}"
    );
    assert_eq!(covered["containers"][0]["name"], "web");
    eventually("the policy is covered", || {
        let policy = kubectl.get("protectionpolicy", &namespace, "all")?;
        (condition(&policy, "Covered")["status"] == "True").then_some(())
    });
    let columns = ["get", "protectionpolicies", "-n", &namespace];
    let table = kubectl.run(&columns, "").expect_success().stdout;
    let head: Vec<&str> = table
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let expected = [
        "NAME",
        "MODE",
        "READY",
        "MATCHED",
        "INJECTED",
        "CURRENT",
        "REPORTING",
        "COVERED",
        "AGE",
    ];
    assert_eq!(head, expected, "{table}");
    let line = table.lines().nth(1).unwrap_or_default();
    let line: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(line[..2], ["all", "Monitor"], "{table}");
    // Whether it is ready may not be known yet.
    let counts = &line[line.len() - 6..];
    assert_eq!(counts[..5], ["2", "2", "2", "2", "True"], "{table}");

    for name in ["web", "all"] {
        eventually(&format!("events tell how {name} turned"), || {
            let told = reasons(&kubectl, &namespace, name);
            let told = |reason: &str| told.iter().any(|told| told == reason);
            (told("CoverageUnhealthy") && told("CoverageHealthy")).then_some(())
        });
    }
    let log = operator.replicas[0].process().log();
    let lines = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let turned = lines.filter(|line| {
        line["source"] == "picket.dev"
            && line["detail"]["resourceDetails"]["kubernetesDetails"]["namespace"]
                == namespace.as_str()
            && line["resources"][0] == format!("{namespace}/Deployment/web")
    });
    let statuses: Vec<Value> = turned
        .map(|line| line["detail"]["currentStatus"].clone())
        .collect();
    assert_eq!(statuses, ["UNHEALTHY", "HEALTHY"]);

    let delete = ["delete", "protectionpolicy", "all", "-n", &namespace];
    kubectl.run(&delete, "").expect_success();
    eventually("a namespace without policy has no report", || {
        kubectl
            .get("coveragereport", &namespace, "coverage")
            .is_none()
            .then_some(())
    });
}

#[test]
fn an_agent_that_fails_is_a_gap_and_one_that_works_again_is_none() {
    let operator = operator();
    let kubectl = operator.kubectl();
    let namespace = operator.protected("agentless", &[]);
    let kubelet = kubelet(&namespace);
    kubectl.apply(&deployment(&namespace, "web", 1), false);
    let web = (namespace.as_str(), "Deployment", "web");
    row(&kubectl, web, |row| is(row, "Healthy", [1, 1, 1, 1]));
    kubelet.faults([Fault {
        patient: Patient::Container("picket-agent".to_owned()),
        ailment: Ailment::Crash(1),
    }]);
    let failing = row(&kubectl, web, |row| row["state"] == "Unhealthy");
    assert!(has_gap(&failing, "AgentFailing"), "{failing:#}");
    assert_eq!(failing["pods"]["reporting"], 0);
    kubelet.faults([]);
    row(&kubectl, web, |row| is(row, "Healthy", [1, 1, 1, 1]));
}

#[test]
fn each_kind_of_workload_has_a_row_by_what_people_call_it() {
    let operator = operator();
    let kubectl = operator.kubectl();
    let namespace = operator.protected("kinds", &[]);
    let _kubelet = kubelet(&namespace);
    let template = deployment(&namespace, "db", 1)["spec"].clone();
    kubectl.apply(&pod(&namespace, "alone"), false);
    kubectl.apply(
        &json!({
            "apiVersion": "apps/v1", "kind": "StatefulSet",
            "metadata": {"name": "db", "namespace": namespace},
            "spec": {
                "serviceName": "db", "replicas": 1,
                "selector": template["selector"], "template": template["template"],
            },
        }),
        false,
    );
    let mut job = template["template"].clone();
    job["spec"]["restartPolicy"] = json!("Never");
    kubectl.apply(
        &json!({
            "apiVersion": "batch/v1", "kind": "CronJob",
            "metadata": {"name": "nightly", "namespace": namespace},
            "spec": {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": {"template": job}}},
        }),
        false,
    );
    let now = [
        "create",
        "job",
        "tonight",
        "--from=cronjob/nightly",
        "-n",
        &namespace,
    ];
    kubectl.run(&now, "").expect_success();
    let mut opted_out = pod(&namespace, "private");
    opted_out["metadata"]["labels"]["picket.dev/protect"] = json!("false");
    kubectl.apply(&opted_out, false);
    for (kind, name) in [
        ("Pod", "alone"),
        ("StatefulSet", "db"),
        ("CronJob", "nightly"),
    ] {
        let at = (namespace.as_str(), kind, name);
        row(&kubectl, at, |row| is(row, "Healthy", [1, 1, 1, 1]));
    }
    let private = row(&kubectl, (&namespace, "Pod", "private"), |row| {
        !row.is_null()
    });
    assert_eq!(
        (&private["state"], &private["reason"]),
        (&json!("Unselected"), &json!("OptedOut"))
    );
}

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
    let template = deployment(&namespace, "db", 1)["spec"].clone();
    kubectl.apply(
        &json!({
            "apiVersion": "apps/v1", "kind": "StatefulSet",
            "metadata": {"name": "db", "namespace": namespace},
            "spec": {
                "serviceName": "db", "replicas": 1,
                "selector": template["selector"], "template": template["template"],
            },
        }),
        false,
    );
    let mut job = template["template"].clone();
    job["spec"]["restartPolicy"] = json!("Never");
    kubectl.apply(
        &json!({
            "apiVersion": "batch/v1", "kind": "Job",
            "metadata": {"name": "nightly", "namespace": namespace},
            "spec": {"template": job},
        }),
        false,
    );
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

#[test]
fn status_is_a_page_a_verdict_and_what_changes() {
    let operator = operator();
    let kubectl = operator.kubectl();
    let namespace = operator.protected("status", &[]);
    let kubelet = kubelet(&namespace);
    kubectl.apply(&deployment(&namespace, "web", 1), false);
    let web = (namespace.as_str(), "Deployment", "web");
    row(&kubectl, web, |row| is(row, "Healthy", [1, 1, 1, 1]));
    let admin = ControlPlane::with_controllers().kubeconfig("admin");
    let picket = |arguments: &[&str]| {
        std::process::Command::new(picket_tests::product("picket"))
            .args(["status", "-n", &namespace])
            .args(arguments)
            .env("KUBECONFIG", &admin)
            .output()
            .expect("picket starts")
    };
    let text = |arguments: &[&str]| String::from_utf8(picket(arguments).stdout).expect("text");
    let table = eventually("the policy is on the page", || {
        let table = text(&[]);
        let policy = table.lines().nth(1)?.split_whitespace().collect::<Vec<_>>();
        (policy[..7]
            == [
                &format!("{namespace}/all"),
                "Monitor",
                "1",
                "1",
                "1",
                "1",
                "True",
            ])
        .then(|| table.clone())
    });
    let line = table
        .lines()
        .find(|line| line.contains("Deployment/web"))
        .expect("a row");
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words[2..7], ["Healthy", "1", "1", "1", "1"], "{table}");
    let page: Value = serde_json::from_str(&text(&["-o", "json"])).expect("JSON");
    assert_eq!(page["workloads"][0]["name"], "web", "{page:#}");
    assert_eq!(page["policies"][0]["covered"], "True", "{page:#}");
    assert!(picket(&["--check"]).status.success());

    let watching = picket_tests::kube::Supervised::start(
        ControlPlane::with_controllers().folder(),
        &format!("status-{namespace}"),
        &picket_tests::product("picket"),
        &["status", "-n", &namespace, "-w", "-o", "json"],
        &[("KUBECONFIG", &admin.to_string_lossy())],
        None,
    )
    .unwrap_or_else(|error| panic!("{error}"));
    let shows = |state: &str| {
        eventually(&format!("{state} is shown"), || {
            let log = watching.log();
            let mut lines = log
                .lines()
                .filter_map(|line| serde_json::from_str(line).ok());
            lines
                .any(|line: Value| line["name"] == "web" && line["state"] == state)
                .then_some(())
        });
    };
    shows("Healthy");
    kubelet.faults([Fault {
        patient: Patient::Container("picket-agent".to_owned()),
        ailment: Ailment::Crash(1),
    }]);
    shows("Unhealthy");
    assert_eq!(picket(&["--check"]).status.code(), Some(2));
    let unhealthy = text(&["--unhealthy"]);
    assert!(unhealthy.contains("AgentFailing"), "{unhealthy}");
}

#[test]
fn reports_are_true_again_after_the_leader_and_the_api_server_were_killed() {
    let control_plane = Box::leak(Box::new(ControlPlane::start().expect("control plane")));
    let options = Options {
        replicas: 2,
        ..Options::default()
    };
    let operator = Operator::install(control_plane, &options);
    let kubectl = operator.kubectl();
    let namespace = operator.protected("killed", &[]);
    let _kubelet = Kubelet::start(control_plane, &namespace);
    let healthy = |name: &str| {
        row(&kubectl, (&namespace, "Pod", name), |row| {
            is(row, "Healthy", [1, 1, 1, 1])
        });
    };
    kubectl.apply(&pod(&namespace, "first"), false);
    healthy("first");

    let lease = kubectl.get("lease", &operator.namespace, "picket-operator");
    let holder = lease.expect("a lease")["spec"]["holderIdentity"].clone();
    let leader = operator
        .replicas
        .iter()
        .enumerate()
        .find(|(index, _)| holder == format!("{}-{index}", operator.namespace))
        .expect("one of both leads")
        .1;
    leader.process().signal("KILL");
    // The webhook's URL leads to one of the two processes, so the pod may come bare.
    kubectl.apply(&pod(&namespace, "second"), false);
    let second = (namespace.as_str(), "Pod", "second");
    row(&kubectl, second, |row| row["pods"]["total"] == 1);

    control_plane.restart_api_server().expect("API server");
    let delete = ["delete", "pod", "first", "-n", &namespace, "--force"];
    kubectl.run(&delete, "").expect_success();
    row(&kubectl, (&namespace, "Pod", "first"), Value::is_null);
    row(&kubectl, second, |row| row["pods"]["total"] == 1);
}
