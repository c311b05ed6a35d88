//! What is protected, what is not, and why: as the API server shows it, with real controllers and
//! a mock of kubelet.

mod canary;
mod fargate;
mod quarantine;

use std::sync::OnceLock;

use picket_tests::kube::coverage::{available, has_gap, is, reasons, row};
use picket_tests::kube::kubelet::{Ailment, Fault, Patient};
use picket_tests::kube::objects::{POLICY_COLUMNS, condition, deployment, job, pod, stateful_set};
use picket_tests::kube::{ControlPlane, Kubelet, Operator, Options, eventually};
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
    assert_eq!(head, POLICY_COLUMNS, "{table}");
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
    kubectl.apply(&pod(&namespace, "alone"), false);
    kubectl.apply(&stateful_set(&namespace, "db"), false);
    kubectl.apply(
        &json!({
            "apiVersion": "batch/v1", "kind": "CronJob",
            "metadata": {"name": "nightly", "namespace": namespace},
            "spec": {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": job(&namespace, "nightly")["spec"]}},
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
