//! What Helm has run in the cluster: `helm test`, the job before an upgrade and the one after a
//! removal. Their pods are those that a real API server and the Job controller made, run in real
//! containers with the token, user and root file system that they ask for. Only kubelet's part is
//! done here: running them, and telling what became of them.
#![allow(missing_docs)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use picket_tests::containers::{Engine, RunningPod, Surroundings};
use picket_tests::kube::helm::{Helm, chart};
use picket_tests::kube::objects::{condition, pod, policy};
use picket_tests::kube::release::{NAMESPACE, Release};
use picket_tests::kube::{ControlPlane, Kubectl, Output, PATIENCE, eventually};
use serde_json::{Value, json};

const VALUES: &str =
    "image.repository=localhost/picket,image.tag=dev,imageResolution.enabled=false";
const NAMES: &str = "customresourcedefinitions";

/// What containers wrote, by `pod/container`, in the order in which they ended.
type Said = Arc<Mutex<Vec<(String, String)>>>;

/// Plays the nodes of the release's namespace until it is dropped: pods of the control plane are
/// Ready (their processes are [`Release`]'s), all others run.
struct Nodes {
    said: Said,
    is_over: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Nodes {
    fn start(control_plane: &'static ControlPlane) -> Self {
        let (said, is_over) = (Said::default(), Arc::new(AtomicBool::new(false)));
        let (write, watch) = (Arc::clone(&said), Arc::clone(&is_over));
        let thread = std::thread::spawn(move || {
            let mut seen = BTreeSet::new();
            while !watch.load(Ordering::Relaxed) {
                for pod in pods(&control_plane.kubectl()) {
                    let uid = pod["metadata"]["uid"].to_string();
                    if pod["status"]["phase"] == "Pending" && seen.insert(uid) {
                        attend(control_plane, &pod, &write);
                    }
                }
                std::thread::sleep(Duration::from_millis(200));
            }
        });
        Self {
            said,
            is_over,
            thread: Some(thread),
        }
    }

    /// What a container of this name wrote last.
    fn said(&self, container: &str) -> String {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let last = said
            .iter()
            .rev()
            .find(|(name, _)| name.ends_with(container));
        last.map(|(_, text)| text.clone()).unwrap_or_default()
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn pods(kubectl: &Kubectl) -> Vec<Value> {
    let list = kubectl.run(&["get", "pods", "-n", NAMESPACE, "-o", "json"], "");
    let items = list
        .success
        .then(|| list.json()["items"].as_array().cloned());
    items.flatten().unwrap_or_default()
}

fn attend(control_plane: &ControlPlane, pod: &Value, said: &Said) {
    let kubectl = control_plane.kubectl();
    let name = pod["metadata"]["name"].as_str().expect("a name");
    let status = match pod["metadata"]["labels"]["app.kubernetes.io/component"].as_str() {
        Some("operator") => {
            let (address, _) = served_at(&kubectl);
            json!({
                "phase": "Running",
                "podIP": address, "podIPs": [{"ip": address}],
                "conditions": [{"type": "Ready", "status": "True"}],
            })
        }
        _ => run(control_plane, pod, said),
    };
    let patch = json!({"status": status}).to_string();
    let arguments = [
        "patch",
        "pod",
        name,
        "-n",
        NAMESPACE,
        "--subresource=status",
        "--type=merge",
        "-p",
        &patch,
    ];
    // Helm may have removed it.
    let _ = kubectl.run(&arguments, "");
}

/// Address and port of the first process of the control plane.
fn served_at(kubectl: &Kubectl) -> (Value, Value) {
    let slice = kubectl.get("endpointslice", NAMESPACE, "picket-operator-0");
    let slice = slice.expect("the processes are started before there are nodes");
    let address = slice["endpoints"][0]["addresses"][0].clone();
    (address, slice["ports"][0]["port"].clone())
}

/// Has the API server's proxy lead through the webhook's Service to that process. It goes by
/// Endpoints whose addresses are pods', which a controller makes in a cluster.
fn lead_through_the_service(kubectl: &Kubectl) {
    let (address, port) = served_at(kubectl);
    let pod = pods(kubectl)
        .into_iter()
        .find(|pod| pod["status"]["podIP"] == address)
        .expect("a pod of the control plane");
    let target = json!({
        "kind": "Pod", "namespace": NAMESPACE,
        "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"],
    });
    let endpoints = json!({
        "apiVersion": "v1", "kind": "Endpoints",
        "metadata": {"name": "picket-webhook", "namespace": NAMESPACE},
        "subsets": [{
            "addresses": [{"ip": address, "targetRef": target}],
            "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
        }],
    });
    kubectl.apply(&endpoints, false);
}

/// Runs a pod to its end; gives its status.
fn run(control_plane: &ControlPlane, pod: &Value, said: &Said) -> Value {
    let name = pod["metadata"]["name"].as_str().expect("a name");
    let account = pod["spec"]["serviceAccountName"]
        .as_str()
        .expect("an account");
    let token = ["create", "token", account, "-n", NAMESPACE];
    let token = control_plane.kubectl().run(&token, "").expect_success();
    let authority = BTreeMap::from([("ca.crt".to_owned(), control_plane.authority())]);
    let surroundings = Surroundings {
        service_account_token: token.stdout.trim().to_owned(),
        config_maps: BTreeMap::from([("kube-root-ca.crt".to_owned(), authority)]),
        api_server: Some(control_plane.address()),
        ..Surroundings::default()
    };
    let engine = Engine::open().expect("container engine");
    let running = RunningPod::run(&engine, pod, &surroundings).expect("the pod runs");
    let containers = pod["spec"]["containers"].as_array().expect("containers");
    let mut has_failed = false;
    let ended: Vec<Value> = containers
        .iter()
        .map(|container| {
            let container = container["name"].as_str().expect("a name");
            let code = running.wait(container, PATIENCE).expect("it ends");
            let logs = running.logs(container).expect("its log");
            let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
            let text = format!("{}{}", logs.stdout, logs.stderr);
            said.push((format!("{name}/{container}"), text));
            has_failed |= code != 0;
            json!({
                "name": container, "image": "", "imageID": "", "ready": false, "restartCount": 0,
                "state": {"terminated": {"exitCode": code}},
            })
        })
        .collect();
    let phase = if has_failed { "Failed" } else { "Succeeded" };
    json!({"phase": phase, "containerStatuses": ended})
}

/// A release is of the whole cluster, so each test has one to itself.
fn with_controllers_of_its_own() -> &'static ControlPlane {
    let mut control_plane = ControlPlane::start().unwrap_or_else(|error| panic!("{error}"));
    let controllers = control_plane.start_controllers();
    controllers.unwrap_or_else(|error| panic!("{error}"));
    Box::leak(Box::new(control_plane))
}

fn definitions(kubectl: &Kubectl) -> usize {
    let listed = kubectl
        .run(&["get", NAMES, "-o", "name"], "")
        .expect_success();
    listed.stdout.matches(".picket.dev").count()
}

#[test]
fn what_helm_has_run_in_the_cluster_works_with_the_rights_and_the_sandbox_that_the_chart_gives_it()
{
    let control_plane = with_controllers_of_its_own();
    let kubectl = control_plane.kubectl();
    let helm = Helm::of(control_plane);
    let chart = chart();
    let _release = Release::install(control_plane, &chart, VALUES);
    let nodes = Nodes::start(control_plane);
    eventually("the control plane is there, as kubectl sees it", || {
        let deployment = kubectl.get("deployment", NAMESPACE, "picket-operator")?;
        (deployment["status"]["readyReplicas"] == 2).then_some(())
    });
    lead_through_the_service(&kubectl);
    let namespace = control_plane.namespace("shop", &[]);
    kubectl.apply(
        &policy(&namespace, "all", json!({"computeType": "Any"})),
        false,
    );
    eventually("the policy is ready", || {
        let policy = kubectl.get("protectionpolicy", &namespace, "all")?;
        (condition(&policy, "Ready")["status"] == "True").then_some(())
    });
    let test = || -> Output { helm.run(&["test", "picket", "-n", NAMESPACE, "--timeout=3m"]) };

    let passed = test();
    let said = nodes.said("picket-doctor/doctor");
    assert!(
        passed.success,
        "{passed:?}\n{said}\n{}",
        nodes.said("/sandbox")
    );
    assert!(said.contains("0 faults"), "{said}");
    // The second container answers for kernel and sandbox.
    let sandbox = nodes.said("picket-doctor/sandbox");
    assert!(sandbox.contains("seccomp"), "{sandbox}");
    let leftover = kubectl.get("pod", NAMESPACE, "picket-doctor");
    assert!(leftover.is_none(), "{leftover:?}");

    // What is wrong is named, in a pod that stays so that its log can be read.
    let webhooks = ["delete", "mutatingwebhookconfiguration", "zz-picket"];
    kubectl.run(&webhooks, "").expect_success();
    let failed = test();
    assert!(!failed.success, "{failed:?}");
    let said = nodes.said("picket-doctor/doctor");
    assert!(said.contains("Fault WebhookMissing"), "{said}");
    assert!(kubectl.get("pod", NAMESPACE, "picket-doctor").is_some());

    // An upgrade brings that back, and the definitions up to date before anything else.
    let definition = "crd/protectionpolicies.picket.dev";
    let columns = "/spec/versions/0/additionalPrinterColumns";
    let older = json!([{"op": "remove", "path": columns}]).to_string();
    let older = ["patch", definition, "--type=json", "-p", &older];
    kubectl.run(&older, "").expect_success();
    let values = format!("{VALUES},crds.keep=false");
    let upgrade = [
        "upgrade", "picket", &chart, "-n", NAMESPACE, "--set", &values,
    ];
    helm.run(&upgrade).expect_success();
    let said = nodes.said("/crds");
    assert!(
        said.contains("protectionpolicies.picket.dev updated"),
        "{said}"
    );
    eventually("the test passes again", || test().success.then_some(()));

    // Only where that is asked for does a removal take the definitions along.
    assert_eq!(definitions(&kubectl), 4);
    let uninstall = ["uninstall", "picket", "-n", NAMESPACE];
    helm.run(&uninstall).expect_success();
    eventually("the definitions are gone", || {
        (definitions(&kubectl) == 0).then_some(())
    });
    let said = nodes.said("/crds");
    assert_eq!(said.matches(".picket.dev deleted").count(), 4, "{said}");
}

#[test]
fn what_the_control_plane_made_for_itself_goes_when_it_is_removed_and_what_people_made_stays() {
    let control_plane = with_controllers_of_its_own();
    let kubectl = control_plane.kubectl();
    let helm = Helm::of(control_plane);
    let release = Release::install(control_plane, &chart(), VALUES);
    let namespace = control_plane.namespace("shop", &[]);
    let all = policy(&namespace, "all", json!({"computeType": "Any"}));
    kubectl.apply(&all, false);
    kubectl.apply(&pod(&namespace, "web"), false);
    let own = json!({
        "apiVersion": "picket.dev/v1alpha1", "kind": "RuleSet", "metadata": {"name": "own"},
        "spec": {"policies": [{"name": "own.policy", "text": "rules: []"}]},
    });
    kubectl.apply(&own, false);
    // Everything that the control plane makes when nothing is wrong.
    for (kind, namespace, name) in [
        ("coveragereport", namespace.as_str(), "coverage"),
        ("ruleset", "", "default"),
        ("lease", NAMESPACE, "picket-operator"),
        ("secret", NAMESPACE, "picket-webhook-certificate"),
        ("secret", NAMESPACE, "picket-session-keys"),
        ("endpointslice", NAMESPACE, "picket-relay"),
    ] {
        eventually(&format!("the {kind} {name} is there"), || {
            kubectl.get(kind, namespace, name)
        });
    }
    // The webhook goes first, the control plane while the rest does.
    let uninstall = ["uninstall", "picket", "-n", NAMESPACE, "--no-hooks"];
    helm.run(&uninstall).expect_success();
    drop(release);
    let left = || -> Vec<String> {
        let listing = ["api-resources", "--verbs=list,delete", "-o", "name"];
        let kinds = kubectl.run(&listing, "").expect_success().stdout;
        let kinds = kinds.split_whitespace().collect::<Vec<_>>().join(",");
        let custom = "custom-columns=KIND:.kind,NAMESPACE:.metadata.namespace,NAME:.metadata.name";
        let all = ["get", &kinds, "-A", "--no-headers", "-o", custom];
        let all = kubectl.run(&all, "").expect_success().stdout;
        let ours = all.lines().filter(|line| {
            line.contains("picket") || line.contains("CoverageReport") || line.contains("RuleSet")
        });
        let ours = ours.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
        // What happened is told for an hour, and the API server notes which groups it serves.
        let mut ours: Vec<String> = ours
            .filter(|line| !line.starts_with("Event ") && !line.starts_with("APIService "))
            .collect();
        ours.sort();
        ours.dedup();
        ours
    };
    let expected = [
        "CustomResourceDefinition <none> clusterprotectionpolicies.picket.dev",
        "CustomResourceDefinition <none> coveragereports.picket.dev",
        "CustomResourceDefinition <none> protectionpolicies.picket.dev",
        "CustomResourceDefinition <none> rulesets.picket.dev",
        "Namespace <none> picket-system",
        "RuleSet <none> own",
        "ServiceAccount picket-system default",
    ];
    let deadline = Instant::now() + PATIENCE;
    while left() != expected {
        assert!(Instant::now() < deadline, "{:#?}", left());
        std::thread::sleep(Duration::from_millis(500));
    }
    assert!(kubectl.get("protectionpolicy", &namespace, "all").is_some());
    assert!(kubectl.get("pod", &namespace, "web").is_some());
}
