//! Workloads that are restarted for their policies. Deployments, ReplicaSets, budgets and admission
//! are real; kubelet and fargate-scheduler are a mock that says what it is told.
#![allow(missing_docs)]

use std::sync::{OnceLock, PoisonError, RwLock};

use picket_tests::kube::coverage::{available, has_gap, is, reasons, row};
use picket_tests::kube::kubelet::{Ailment, Fault, Patient};
use picket_tests::kube::objects::{deployment, is_bare, job, pod, stateful_set};
use picket_tests::kube::{ControlPlane, Kubectl, Kubelet, Operator, Options, eventually};
use serde_json::{Value, json};

fn options() -> Options {
    Options {
        arguments: vec!["--rollout=true".to_owned()],
        further_rules: vec!["rollout.yaml"],
        ..Options::default()
    }
}

/// The one operator of the cluster: two would restart the same workloads. Who kills it has it alone.
fn operator() -> &'static RwLock<Operator> {
    static SHARED: OnceLock<RwLock<Operator>> = OnceLock::new();
    SHARED.get_or_init(|| Operator::install(ControlPlane::with_controllers(), &options()).into())
}

fn kubelet(namespace: &str) -> Kubelet {
    Kubelet::start(ControlPlane::with_controllers(), namespace)
}

/// What the operator has written down of a restart; null if there is nothing.
fn mark(kubectl: &Kubectl, namespace: &str, name: &str) -> Value {
    let deployment = kubectl
        .get("deployment", namespace, name)
        .unwrap_or_default();
    let mark = deployment["metadata"]["annotations"]["picket.dev/rollout"].as_str();
    mark.and_then(|mark| serde_json::from_str(mark).ok())
        .unwrap_or_default()
}

/// A policy that restarts workloads, one at a time.
fn restarting() -> Value {
    json!({
        "computeType": "Any",
        "rollout": {"strategy": "RollingRestart", "maxUnavailable": 1},
    })
}

#[test]
fn workloads_that_run_already_are_restarted_unless_that_would_hurt() {
    let operator = operator().read().unwrap_or_else(PoisonError::into_inner);
    let kubectl = operator.kubectl();
    let namespace = operator.namespace("rollout", &[]);
    let _kubelet = kubelet(&namespace);
    let apply = |name: &str, replicas: u32, change: &dyn Fn(&mut Value)| {
        let mut deployment = deployment(&namespace, name, replicas);
        change(&mut deployment);
        kubectl.apply(&deployment, false);
    };
    apply("api", 1, &|_| {});
    apply("web", 2, &|_| {});
    apply("single", 1, &|one| {
        one["spec"]["strategy"] = json!({"type": "Recreate"})
    });
    apply("frozen", 1, &|_| {});
    apply("guarded", 1, &|_| {});
    for (name, replicas) in [
        ("api", 1),
        ("web", 2),
        ("single", 1),
        ("frozen", 1),
        ("guarded", 1),
    ] {
        available(&kubectl, &namespace, name, replicas);
    }
    let pause = ["rollout", "pause", "deployment/frozen", "-n", &namespace];
    kubectl.run(&pause, "").expect_success();
    kubectl.apply(
        &json!({
            "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
            "metadata": {"name": "guarded", "namespace": namespace},
            "spec": {"maxUnavailable": 0, "selector": {"matchLabels": {"app": "guarded"}}},
        }),
        false,
    );
    kubectl.apply(&pod(&namespace, "alone"), false);
    kubectl.apply(&stateful_set(&namespace, "db"), false);
    kubectl.apply(&job(&namespace, "import"), false);
    eventually("the StatefulSet's pod runs", || {
        let set = kubectl.get("statefulset", &namespace, "db")?;
        (set["status"]["availableReplicas"] == 1).then_some(())
    });
    eventually("the Job's pod is there", || {
        let job = kubectl.get("job", &namespace, "import")?;
        (job["status"]["active"] == 1).then_some(())
    });
    let mut by_hand = stateful_set(&namespace, "by-hand");
    by_hand["spec"]["updateStrategy"] = json!({"type": "OnDelete"});
    kubectl.apply(&by_hand, false);
    operator.protect(&namespace, "all", restarting());

    for (name, replicas) in [("api", 1), ("web", 2)] {
        let at = (namespace.as_str(), "Deployment", name);
        row(&kubectl, at, |row| is(row, "Healthy", [replicas; 4]));
        eventually("what was begun is written down as done", || {
            let deployment = kubectl.get("deployment", &namespace, name)?;
            let mark = deployment["metadata"]["annotations"]["picket.dev/rollout"].as_str()?;
            let mark: Value = serde_json::from_str(mark).ok()?;
            (mark["outcome"] == "Ready").then_some(())
        });
    }
    let db = (namespace.as_str(), "StatefulSet", "db");
    row(&kubectl, db, |row| is(row, "Healthy", [1; 4]));
    for (kind, name, word) in [
        ("Deployment", "single", "StrategyRecreate"),
        ("Deployment", "frozen", "Paused"),
        ("Deployment", "guarded", "DisruptionBudget"),
        ("StatefulSet", "by-hand", "StrategyOnDelete"),
        ("Pod", "alone", "KindNotRestarted"),
        ("Job", "import", "KindNotRestarted"),
    ] {
        let at = (namespace.as_str(), kind, name);
        row(&kubectl, at, |row| {
            row["rollout"] == word && row["pods"]["injected"] == 0
        });
    }
    let delete = ["delete", "poddisruptionbudget", "guarded", "-n", &namespace];
    kubectl.run(&delete, "").expect_success();
    let guarded = (namespace.as_str(), "Deployment", "guarded");
    row(&kubectl, guarded, |row| is(row, "Healthy", [1; 4]));
}

#[test]
fn a_restart_that_fails_stops_the_others() {
    let operator = operator().read().unwrap_or_else(PoisonError::into_inner);
    let kubectl = operator.kubectl();
    let namespace = operator.namespace("stopped", &[]);
    let kubelet = kubelet(&namespace);
    for name in ["first", "second"] {
        let mut deployment = deployment(&namespace, name, 1);
        deployment["spec"]["progressDeadlineSeconds"] = json!(5);
        kubectl.apply(&deployment, false);
        available(&kubectl, &namespace, name, 1);
    }
    kubelet.faults([Fault {
        patient: Patient::Traced,
        ailment: Ailment::Crash(1),
    }]);
    operator.protect(&namespace, "all", restarting());
    let first = (namespace.as_str(), "Deployment", "first");
    let failed = row(&kubectl, first, |row| {
        let rollout = row["rollout"].as_str();
        rollout.is_some_and(|rollout| rollout.starts_with("Failed: "))
    });
    assert_eq!(failed["state"], "Unhealthy");
    let second = (namespace.as_str(), "Deployment", "second");
    row(&kubectl, second, |row| row["rollout"] == "PolicyStopped");
    eventually("an event tells of it", || {
        let told = reasons(&kubectl, &namespace, "first");
        told.contains(&"RolloutFailed".to_owned()).then_some(())
    });
}

#[test]
fn a_restart_that_was_begun_is_finished_by_whoever_leads_next() {
    let mut operator = operator().write().unwrap_or_else(PoisonError::into_inner);
    let kubectl = operator.kubectl();
    let namespace = operator.namespace("resumed", &[]);
    let running = kubelet(&namespace);
    for name in ["first", "second"] {
        kubectl.apply(&deployment(&namespace, name, 1), false);
        available(&kubectl, &namespace, name, 1);
    }
    // New pods wait from now on.
    drop(running);
    operator.protect(&namespace, "all", restarting());
    eventually("the first is being restarted", || {
        (mark(&kubectl, &namespace, "first")["outcome"] == "Restarting").then_some(())
    });
    // A pod that were made while nobody answers the webhook would come bare.
    eventually("its new pod is there, injected", || {
        let list = [
            "get",
            "pods",
            "-n",
            &namespace,
            "-l",
            "app=first",
            "-o",
            "json",
        ];
        let pods = kubectl.run(&list, "").expect_success().json();
        let mut pods = pods["items"].as_array()?.iter();
        pods.any(|pod| !is_bare(pod)).then_some(())
    });
    operator.replicas[0].process().signal("KILL");
    operator.restart(&options());
    let begun = mark(&kubectl, &namespace, "first");
    assert_eq!(begun["outcome"], "Restarting", "{begun:#}");
    let waits = (namespace.as_str(), "Deployment", "second");
    row(&kubectl, waits, |row| row["rollout"] == "WaitsForOthers");
    let _kubelet = kubelet(&namespace);
    for name in ["first", "second"] {
        let at = (namespace.as_str(), "Deployment", name);
        row(&kubectl, at, |row| is(row, "Healthy", [1; 4]));
        eventually("it is written down as done", || {
            (mark(&kubectl, &namespace, name)["outcome"] == "Ready").then_some(())
        });
    }
    // It was not restarted a second time for that.
    let done = mark(&kubectl, &namespace, "first");
    assert!(done["target"] == begun["target"], "{begun:#} {done:#}");
    let deployment = kubectl.get("deployment", &namespace, "first").expect("it");
    let revision = &deployment["metadata"]["annotations"]["deployment.kubernetes.io/revision"];
    assert_eq!(*revision, "2", "{deployment:#}");
}

#[test]
fn what_fargate_refuses_goes_back_and_stops_the_others() {
    let operator = operator().read().unwrap_or_else(PoisonError::into_inner);
    let kubectl = operator.kubectl();
    let namespace = operator.namespace("refused", &[]);
    let kubelet = kubelet(&namespace);
    for name in ["first", "second"] {
        let mut deployment = deployment(&namespace, name, 1);
        deployment["spec"]["template"]["metadata"]["labels"]["eks.amazonaws.com/fargate-profile"] =
            json!("all");
        kubectl.apply(&deployment, false);
        available(&kubectl, &namespace, name, 1);
    }
    kubelet.faults([Fault {
        patient: Patient::Traced,
        ailment: Ailment::NotSupportedOnFargate("volumes not supported".to_owned()),
    }]);
    operator.protect(&namespace, "all", restarting());
    let first = (namespace.as_str(), "Deployment", "first");
    // Rollout or the circuit breaker, whoever is first: injection is suspended, and a bare pod runs.
    let suspended = row(&kubectl, first, |row| has_gap(row, "InjectionSuspended"));
    assert!(
        suspended.to_string().contains("NotSupportedOnFargate"),
        "{suspended:#}"
    );
    available(&kubectl, &namespace, "first", 1);
    let failed = row(&kubectl, first, |row| {
        let rollout = row["rollout"].as_str();
        rollout.is_some_and(|rollout| rollout.starts_with("Failed: "))
    });
    assert_eq!(failed["state"], "Unhealthy");
    let second = (namespace.as_str(), "Deployment", "second");
    row(&kubectl, second, |row| row["rollout"] == "PolicyStopped");
}
