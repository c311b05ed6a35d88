//! The injected pod in real containers: non-root, read-only root, every
//! capability dropped, the node's default seccomp profile.

use std::io::Write;
use std::process::{Command, Stdio};

use picket_tests::containers::{Engine, Node, RunningPod, Surroundings};
use picket_tests::product;
use picket_tests::shop::{self, AGENT, Attack, PATIENCE, SETUP, SIDECAR_IMAGE, WEB};
use serde_json::{Value, json};

/// The pod as the command line injects it, by the webhook's own planner.
fn injected(pod: Value) -> Value {
    let mut picket = Command::new(product("picket"))
        .args(["inject", "--filename=-", "--sidecar-image", SIDECAR_IMAGE])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("picket inject");
    let mut input = picket.stdin.take().expect("its input");
    input
        .write_all(shop::admitted(pod).to_string().as_bytes())
        .expect("picket inject reads the pod");
    drop(input);
    let output = picket.wait_with_output().expect("picket inject");
    assert!(output.status.success(), "picket inject: {}", output.status);
    serde_saphyr::from_slice(&output.stdout).expect("picket inject writes a pod")
}

fn run(pod: &Value, surroundings: &Surroundings) -> RunningPod {
    let engine = Engine::open().expect("container engine");
    RunningPod::run(&engine, pod, surroundings).expect("the injected pod runs")
}

fn open_shop(surroundings: &Surroundings) -> RunningPod {
    let pod = run(&injected(shop::pod()), surroundings);
    shop::wait_until_open(&pod).expect("the shop opens");
    pod
}

/// Every attack, each of which has to be found.
fn attack_and_expect_findings(pod: &RunningPod) -> Vec<Value> {
    let found = Attack::ALL.map(|attack| {
        attack.launch(pod).expect("the attack works");
        shop::wait_for_finding(pod, attack.rule()).expect("the finding")
    });
    found.to_vec()
}

#[test]
fn attacks_in_a_restricted_pod_become_findings() {
    let pod = open_shop(&Surroundings::default());
    for (finding, attack) in attack_and_expect_findings(&pod).iter().zip(Attack::ALL) {
        assert_eq!(finding["container"]["name"], WEB, "{finding:#}");
        assert_eq!(finding["pod"]["namespace"], "shop", "{finding:#}");
        assert_eq!(finding["pod"]["name"], "shop", "{finding:#}");
        assert!(
            finding["finding"]["severity"].is_string(),
            "{attack:?}: {finding:#}"
        );
        let lineage = finding["process"].to_string();
        assert!(lineage.contains("/app/shop"), "no shop in {finding:#}");
    }
}

#[test]
fn known_malware_is_found_by_its_sum_though_the_agent_cannot_read_it() {
    // What the attacker brings is a copy of the image's busybox, which is the host's.
    let sum = Command::new("sh")
        .args(["-c", "sha256sum \"$(command -v busybox)\""])
        .output()
        .expect("sha256sum");
    let sum = String::from_utf8(sum.stdout).expect("a sum");
    let sum = sum.split_whitespace().next().expect("a sum").to_owned();
    let mut pod = injected(shop::pod());
    mount_lists(&mut pod);
    let mut surroundings = Surroundings::default();
    surroundings.config_maps.insert(
        "lists".to_owned(),
        [("malware.hashes".to_owned(), format!("{sum}\n"))].into(),
    );
    let pod = run(&pod, &surroundings);
    shop::wait_until_open(&pod).expect("the shop opens");
    Attack::Download.launch(&pod).expect("the attack works");
    let finding = shop::wait_for_finding(&pod, "picket_malware_executed").expect("the finding");
    let expected = json!(format!("sha256:{sum}"));
    assert_eq!(
        finding["finding"]["type"],
        "Execution:Runtime/MaliciousFileExecuted"
    );
    // The image's own has that sum too, and runs first: it writes the copy.
    let path = finding["file"]["path"].as_str().expect("a path");
    assert!(
        ["/bin/busybox", "/tmp/uname"].contains(&path),
        "{finding:#}"
    );
    assert_eq!(finding["file"]["hash_state"], "done", "{finding:#}");
    assert_eq!(finding["file"]["hashes"][0], expected, "{finding:#}");
    let action = &finding["agent"]["rule_actions"][0];
    assert_eq!(action["type"], "hash", "{finding:#}");
    assert_eq!(action["status"], "performed", "{finding:#}");
    assert_eq!(action["hashes"][0], expected, "{finding:#}");
}

/// Gives the agent the lists of the ConfigMap `lists`.
fn mount_lists(pod: &mut Value) {
    let spec = &mut pod["spec"];
    let volumes = spec["volumes"].as_array_mut().expect("volumes");
    volumes.push(json!({"name": "lists", "configMap": {"name": "lists"}}));
    let containers = spec["initContainers"].as_array_mut().expect("ours");
    let agent = containers.iter_mut().find(|one| one["name"] == AGENT);
    let mounts = agent.expect("the agent")["volumeMounts"].as_array_mut();
    mounts
        .expect("its mounts")
        .push(json!({"name": "lists", "mountPath": "/etc/picket/lists"}));
}

#[test]
fn nodes_with_other_seccomp_profiles_find_the_same() {
    for node in [Node::Containerd, Node::WithoutPtrace] {
        let pod = open_shop(&Surroundings {
            node,
            ..Surroundings::default()
        });
        let found = attack_and_expect_findings(&pod);
        assert_eq!(found.len(), Attack::ALL.len(), "{node:?}");
    }
}

#[test]
fn an_honest_visitor_is_not_a_finding() {
    let pod = open_shop(&Surroundings::default());
    for _ in 0..10 {
        assert!(shop::is_open(&pod).expect("the shop answers"));
    }
    // What comes after this attack came after all of the visits.
    Attack::Token.launch(&pod).expect("the attack works");
    shop::wait_for_finding(&pod, Attack::Token.rule()).expect("the finding");
    let findings = shop::findings(&pod).expect("the agent's log");
    let rules: Vec<_> = findings
        .iter()
        .map(|finding| finding["agent"]["rule_id"].as_str().unwrap_or("?"))
        .collect();
    assert!(
        rules
            .iter()
            .all(|rule| [Attack::Token.rule(), Attack::Shell.rule()].contains(rule)),
        "{rules:?}"
    );
}

#[test]
fn what_is_added_to_the_pod_passes_the_restricted_standard() {
    let manifest = injected(shop::pod());
    let pod = run(&manifest, &Surroundings::default());
    shop::wait_until_open(&pod).expect("the shop opens");
    let status = std::fs::read_to_string(format!("/proc/{}/status", pod.pid(AGENT).expect("pid")))
        .expect("status of the agent");
    let value = |key: &str| {
        let line = status.lines().find(|line| line.starts_with(key));
        let words = line.unwrap_or_default().split_whitespace().skip(1);
        words.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(value("Uid:"), "64738 64738 64738 64738");
    assert_eq!(value("Gid:"), "64738 64738 64738 64738");
    assert_eq!(value("CapBnd:"), "0000000000000000");
    assert_eq!(value("NoNewPrivs:"), "1");
    assert_eq!(value("Seccomp:"), "2");
    for container in manifest["spec"]["initContainers"].as_array().expect("ours") {
        let context = &container["securityContext"];
        assert_eq!(context["runAsNonRoot"], true, "{container:#}");
        assert_eq!(context["readOnlyRootFilesystem"], true, "{container:#}");
        assert_eq!(context["allowPrivilegeEscalation"], false, "{container:#}");
        assert_eq!(
            context["capabilities"]["drop"],
            json!(["ALL"]),
            "{container:#}"
        );
        assert_eq!(
            context["seccompProfile"]["type"], "RuntimeDefault",
            "{container:#}"
        );
    }
    let setup = pod.logs(SETUP).expect("log of the init container");
    assert_eq!(setup.stderr, "");
}

#[test]
fn the_agent_answers_its_health_probe() {
    let pod = open_shop(&Surroundings::default());
    let health = pod
        .exec(AGENT, &["/picket-agent", "health"])
        .expect("the agent's container runs");
    assert_eq!(health.code, 0, "{health:?}");
}

/// Exit code of the container that runs this shell script, injected.
fn exit_code_of(script: &str) -> i32 {
    let pod = run(
        &injected(shop::pod_running(&["sh", "-c", script])),
        &Surroundings::default(),
    );
    pod.wait(WEB, PATIENCE).expect("the application ends")
}

#[test]
fn exit_codes_pass_through() {
    assert_eq!(exit_code_of("exit 0"), 0);
    assert_eq!(exit_code_of("exit 42"), 42);
    // 128 + SIGSEGV, as a container runtime reports it; Kubernetes makes `$$` of it.
    assert_eq!(exit_code_of("kill -SEGV $$$$"), 139);
}

#[test]
fn a_signal_from_the_runtime_reaches_the_application() {
    let script = "trap 'echo closing; exit 9' TERM; echo up; while :; do sleep 0.1; done";
    let pod = run(
        &injected(shop::pod_running(&["sh", "-c", script])),
        &Surroundings::default(),
    );
    pod.wait_for_line(WEB, "the application's first line", PATIENCE, |line| {
        line == "up"
    })
    .expect("the application starts");
    pod.signal(WEB, "TERM").expect("kill");
    assert_eq!(pod.wait(WEB, PATIENCE).expect("the application ends"), 9);
    assert_eq!(pod.logs(WEB).expect("log").stdout, "up\nclosing\n");
}

/// Much for a tracer to tell, and an exit code that only a whole run has.
const BUSY: &str = "i=0; while [ $i -lt 500 ]; do /bin/true; i=$((i+1)); done; echo $i; exit 3";

#[test]
fn an_agent_that_never_starts_does_not_stop_the_application() {
    let pod = run(
        &injected(shop::pod_running(&["sh", "-c", BUSY])),
        &Surroundings {
            held_back: vec![AGENT.to_owned()],
            ..Surroundings::default()
        },
    );
    assert_eq!(pod.wait(WEB, PATIENCE).expect("the application ends"), 3);
    assert_eq!(pod.logs(WEB).expect("log").stdout, "500\n");
}

#[test]
fn an_agent_that_does_not_read_does_not_stop_the_application() {
    let pod = run(
        &injected(shop::pod_running(&[
            "sh",
            "-c",
            &format!("sleep 2; {BUSY}"),
        ])),
        &Surroundings::default(),
    );
    pod.freeze(AGENT).expect("freeze the agent");
    assert_eq!(pod.wait(WEB, PATIENCE).expect("the application ends"), 3);
    assert_eq!(pod.logs(WEB).expect("log").stdout, "500\n");
    pod.thaw(AGENT).expect("thaw the agent");
}

#[test]
fn an_agent_that_is_killed_costs_the_application_nothing_and_is_back_after_a_restart() {
    let pod = open_shop(&Surroundings::default());
    pod.signal(AGENT, "KILL").expect("kill the agent");
    assert_eq!(pod.wait(AGENT, PATIENCE).expect("the agent ends"), 137);
    for _ in 0..10 {
        assert!(shop::is_open(&pod).expect("the shop answers"));
    }
    // What kubelet does.
    pod.start(AGENT).expect("start the agent");
    Attack::Token.launch(&pod).expect("the attack works");
    let finding = shop::wait_for_finding(&pod, Attack::Token.rule()).expect("the finding");
    // The new agent never saw the shop start.
    let lineage = finding["process"].to_string();
    assert!(lineage.contains("/app/shop"), "no shop in {finding:#}");
}

#[test]
fn an_attack_while_the_agent_starts_late_is_found_when_it_is_there() {
    let pod = open_shop(&Surroundings {
        held_back: vec![AGENT.to_owned()],
        ..Surroundings::default()
    });
    Attack::Token.launch(&pod).expect("the attack works");
    pod.start(AGENT).expect("start the agent");
    shop::wait_for_finding(&pod, Attack::Token.rule()).expect("the finding");
}
