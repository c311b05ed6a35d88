use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use picket_crds::{Mode, ProtectionPolicySpec, conditions};
use serde_json::{Value, json};

use super::asked::Asked;
use super::pull::Pull;
use super::schedule::{AT_ONCE, Memory, Pair, Tried, Wanted};
use super::trial::Finding;
use super::verdict::{Evidence, judge};
use crate::pods::Owner;
use crate::suspensions::{Cause, Record, Workload};

fn configuration(expressions: &Value) -> MutatingWebhookConfiguration {
    let entry = |name: &str, enforce: &str| {
        let mut all = vec![
            json!({"key": "picket.dev/enforce", "operator": enforce, "values": ["true"]}),
            json!({"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kube-system"]}),
        ];
        all.extend(expressions.as_array().expect("a list").iter().cloned());
        json!({
            "name": name,
            "admissionReviewVersions": ["v1"],
            "sideEffects": "NoneOnDryRun",
            "clientConfig": {"url": "https://localhost"},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
            "namespaceSelector": {"matchExpressions": all},
        })
    };
    serde_json::from_value(json!({
        "metadata": {"name": "zz-picket"},
        "webhooks": [entry("ignore.picket.dev", "NotIn"), entry("enforce.picket.dev", "In")],
    }))
    .expect("configuration")
}

#[test]
fn which_namespaces_the_webhook_is_asked_about() {
    let labels = |name: &str, more: &[(&str, &str)]| -> BTreeMap<String, String> {
        let name = ("kubernetes.io/metadata.name", name);
        let all = more.iter().chain([&name]);
        all.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    };
    let on = configuration(&json!([]));
    let off =
        configuration(&json!([{"key": "kubernetes.io/metadata.name", "operator": "DoesNotExist"}]));
    let team = configuration(&json!([{"key": "team", "operator": "In", "values": ["web"]}]));
    let enforced = [("picket.dev/enforce", "true")];
    for (labels, configuration, expected) in [
        (labels("shop", &[]), &on, Asked::Yes),
        (labels("shop", &enforced), &on, Asked::Yes),
        (labels("kube-system", &[]), &on, Asked::No),
        (labels("shop", &[]), &off, Asked::SwitchedOff),
        (labels("shop", &[]), &team, Asked::No),
        (labels("shop", &[("team", "web")]), &team, Asked::Yes),
        (
            labels("shop", &[]),
            &MutatingWebhookConfiguration::default(),
            Asked::No,
        ),
    ] {
        assert_eq!(Asked::about(&labels, configuration), expected, "{labels:?}");
    }
}

fn pair(policy: &str, namespace: &str) -> Pair {
    Pair {
        policy: policy.to_owned(),
        namespace: namespace.to_owned(),
    }
}

fn tried(finding: Finding, at: Instant) -> Tried {
    Tried {
        fingerprint: "1".to_owned(),
        at,
        finding,
        pull: Pull::Works("sha256:1".to_owned()),
    }
}

#[test]
fn what_is_new_is_tried_at_once_and_faults_sooner_than_what_is_well() {
    let start = Instant::now();
    let after = |seconds: u64| start + Duration::from_secs(seconds);
    let (well, ill) = (pair("all", "well"), pair("all", "ill"));
    let mut wanted: Wanted = [(well.clone(), "1".into()), (ill.clone(), "1".into())].into();
    let mut memory = Memory::default();
    assert_eq!(memory.due(&wanted, start).map(|due| due.len()), Ok(2));
    memory.keep(well.clone(), tried(Finding::Admitted, start));
    let fault = Finding::Unreachable(String::new());
    memory.keep(ill.clone(), tried(fault, start));
    assert_eq!(memory.due(&wanted, after(1)), Err(Duration::from_secs(29)));
    assert_eq!(memory.due(&wanted, after(30)), Ok(vec![ill.clone()]));
    assert_eq!(
        memory.due(&wanted, after(300)).map(|due| due.len()),
        Ok(2),
        "both after five minutes"
    );
    // Another image, policy or label of the namespace.
    wanted.insert(well.clone(), "2".into());
    assert_eq!(memory.due(&wanted, after(1)), Ok(vec![well.clone()]));
    assert!(memory.of(&well, "2").is_none() && memory.of(&well, "1").is_some());
    // A webhook that has not heard of the policy is asked again, and nothing is claimed.
    memory.keep(ill.clone(), tried(Finding::NotKnownYet, start));
    assert!(memory.of(&ill, "1").is_none());
    wanted.remove(&well);
    memory.forget_all_but(&wanted);
    assert_eq!(memory.due(&wanted, start), Err(Duration::from_secs(1)));
}

#[test]
fn in_a_large_cluster_everything_is_tried_and_then_seldom() {
    let start = Instant::now();
    let namespaces = (0..4000).map(|number| pair("all", &format!("n{number}")));
    let wanted: Wanted = namespaces.map(|pair| (pair, "1".to_owned())).collect();
    let mut memory = Memory::default();
    let mut rounds = 0;
    while let Ok(due) = memory.due(&wanted, start) {
        rounds += 1;
        assert!(due.len() <= AT_ONCE);
        for pair in due {
            memory.keep(pair, tried(Finding::Admitted, start));
        }
    }
    assert_eq!(rounds, 4000 / AT_ONCE);
    let next = memory.due(&wanted, start).expect_err("nothing is due");
    assert_eq!(next, Duration::from_secs(300));
    let seldom = start + Duration::from_secs(1999);
    assert!(memory.due(&wanted, seldom).is_err(), "two a second");
    let due = memory.due(&wanted, start + Duration::from_secs(2000));
    assert_eq!(due.map(|due| due.len()), Ok(AT_ONCE));
}

fn condition(type_: &str, status: &str, reason: &str) -> Condition {
    Condition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: "words".to_owned(),
        observed_generation: None,
        last_transition_time: Time(Timestamp::default()),
    }
}

/// Status and reason of `WebhookReachable` and of `Ready`, and the message of the latter.
fn judged(
    evidence: &Evidence<'_>,
    mode: Mode,
    before: &[Condition],
) -> ((&'static str, String), (&'static str, String), String) {
    let spec = ProtectionPolicySpec {
        mode,
        ..ProtectionPolicySpec::default()
    };
    let [reachable, ready, _] = judge(&spec, before, evidence);
    assert_eq!(reachable.type_, "WebhookReachable");
    assert_eq!(ready.type_, "Ready");
    (
        (reachable.status, reachable.reason),
        (ready.status, ready.reason),
        ready.message,
    )
}

fn evidence<'a>(namespaces: Vec<(&'a str, Option<&'a Tried>)>) -> Evidence<'a> {
    Evidence {
        tries: true,
        switched_off: false,
        namespaces,
        suspended: Vec::new(),
        port: 8443,
    }
}

#[test]
fn what_follows_from_one_trial_by_table() {
    let words = || "words".to_owned();
    let left = |reason: &str| Finding::LeftAlone {
        reason: reason.to_owned(),
        message: words(),
    };
    for (finding, reachable, ready) in [
        (Finding::Admitted, "True Answered", "True Ready"),
        (
            left("QuotaWouldRefuse"),
            "True Answered",
            "False InjectionWouldBeRefused",
        ),
        (
            left("PodSecurityConflict"),
            "True Answered",
            "False InjectionWouldBeRefused",
        ),
        (
            left("SecretMissing"),
            "True Answered",
            "False WouldBeLeftAlone",
        ),
        (
            Finding::InjectionRefused(words()),
            "True Answered",
            "False InjectionWouldBeRefused",
        ),
        (
            Finding::RefusedAnyway(words()),
            "Unknown TrialRefused",
            "Unknown TrialRefused",
        ),
        (
            Finding::Unreachable(words()),
            "False WebhookUnreachable",
            "False WebhookUnreachable",
        ),
        (Finding::Untold(words()), "Unknown Untold", "Unknown Untold"),
    ] {
        let tried = tried(finding.clone(), Instant::now());
        let evidence = evidence(vec![("shop", Some(&tried))]);
        let found = judged(&evidence, Mode::Monitor, &[]);
        assert_eq!(
            format!("{} {}", found.0.0, found.0.1),
            reachable,
            "{finding:?}"
        );
        assert_eq!(format!("{} {}", found.1.0, found.1.1), ready, "{finding:?}");
        if finding != Finding::Admitted {
            assert!(found.2.contains("words"), "{}", found.2);
            assert!(found.2.contains("`shop`"), "{}", found.2);
        }
    }
}

#[test]
fn the_advice_for_a_webhook_that_is_not_reached_names_port_and_security_group() {
    let tried = tried(Finding::Unreachable("no answer".to_owned()), Instant::now());
    let (_, _, message) = judged(&evidence(vec![("shop", Some(&tried))]), Mode::Monitor, &[]);
    for word in [
        "8443",
        "security group",
        "picket doctor --cluster",
        "no answer",
    ] {
        assert!(message.contains(word), "{message}");
    }
}

#[test]
fn one_namespace_that_refuses_is_named_and_one_that_is_untried_keeps_it_open() {
    let (good, bad) = (
        tried(Finding::Admitted, Instant::now()),
        tried(Finding::InjectionRefused("no".to_owned()), Instant::now()),
    );
    let (_, ready, message) = judged(
        &evidence(vec![("a", Some(&good)), ("b", Some(&bad)), ("c", None)]),
        Mode::Monitor,
        &[],
    );
    assert_eq!(ready.1, "InjectionWouldBeRefused");
    assert_eq!(message, "`b` would refuse injected pods: no");
    let open = evidence(vec![("a", Some(&good)), ("c", None)]);
    let (reachable, ready, _) = judged(&open, Mode::Monitor, &[]);
    assert_eq!((reachable.0, ready.0), ("True", "Unknown"));
    assert_eq!(ready.1, "Trying");
}

#[test]
fn an_image_that_cannot_be_pulled_is_told_and_one_that_nobody_may_ask_for_is_no_obstacle() {
    let mut tried = tried(Finding::Admitted, Instant::now());
    for (pull, status, reason) in [
        (
            Pull::Refused("no such image".to_owned()),
            "False",
            "SidecarImageUnpullable",
        ),
        (Pull::Unknown("no route".to_owned()), "True", "Ready"),
    ] {
        tried.pull = pull;
        let evidence = evidence(vec![("shop", Some(&tried))]);
        let (_, ready, message) = judged(&evidence, Mode::Monitor, &[]);
        assert_eq!(ready, (status, reason.to_owned()), "{message}");
        assert!(message.contains("no such image") || message.contains("not known: no route"));
    }
}

#[test]
fn without_a_trial_it_is_said_why() {
    let tried = tried(Finding::Admitted, Instant::now());
    let all = || evidence(vec![("shop", Some(&tried))]);
    let off = Evidence {
        switched_off: true,
        ..evidence(Vec::new())
    };
    let untried = Evidence {
        tries: false,
        ..all()
    };
    let missing = [condition(
        conditions::RULE_SETS_RESOLVED,
        "False",
        "RuleSetMissing",
    )];
    for (evidence, mode, before, expected) in [
        (off, Mode::Monitor, &[][..], "False InjectionSwitchedOff"),
        (
            evidence(Vec::new()),
            Mode::Monitor,
            &[],
            "Unknown NoNamespace",
        ),
        (untried, Mode::Monitor, &[], "Unknown PreflightOff"),
        (all(), Mode::Disabled, &[], "False Disabled"),
        (all(), Mode::Monitor, &missing, "False RuleSetMissing"),
        (all(), Mode::Enforce, &[], "True Ready"),
    ] {
        let (_, ready, _) = judged(&evidence, mode, before);
        assert_eq!(format!("{} {}", ready.0, ready.1), expected);
    }
}

#[test]
fn a_suspended_workload_is_named_with_its_cause() {
    let owner = Owner {
        api_version: "apps/v1".into(),
        kind: "Deployment".into(),
        name: "web".into(),
        uid: "7".into(),
    };
    let record = Record::new(
        Workload::new("shop", &owner),
        Cause::SidecarImagePull,
        "two pods wait".to_owned(),
        ("shop/all", "0123"),
    );
    let mut evidence = evidence(Vec::new());
    let told = |evidence: &Evidence<'_>| {
        let [.., suspended] = judge(&ProtectionPolicySpec::default(), &[], evidence);
        assert_eq!(suspended.type_, "InjectionSuspended");
        (suspended.status, suspended.reason, suspended.message)
    };
    let (status, reason, _) = told(&evidence);
    assert_eq!((status, reason.as_str()), ("False", "NoneSuspended"));
    evidence.suspended = vec![&record, &record];
    let (status, reason, message) = told(&evidence);
    assert_eq!((status, reason.as_str()), ("True", "InjectionSuspended"));
    assert_eq!(
        message,
        "Deployment/web in shop (and 1 more): SidecarImagePull: two pods wait"
    );
}
