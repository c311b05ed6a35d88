//! Nothing that a pod sends makes the operator say something else of another pod.
#![allow(missing_docs)]

mod cluster;

use cluster::{HOSTILE, Kind, OTHERS, only_its_own_row_changes};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

fn take(kind: Kind, body: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.expect("a runtime");
    runtime.block_on(only_its_own_row_changes(kind, body));
}

/// A name of something in the cluster, or anything.
fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => select(vec![
            HOSTILE, OTHERS[0], OTHERS[1], "shop", "bank", "web-1", "db-1", "main",
            "Deployment/web", "Traced", "NotTraced", "Disconnected", "Ended",
            "RulesNeedRestart", "EventsLost", "Ptrace", "", "\u{1b}[2J\n",
        ])
        .prop_map(str::to_owned),
        1 => any::<String>(),
    ]
}

/// Any JSON, with the words and fields that mean something among it.
fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        word().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 48, 6, |inner| {
        let key = prop_oneof![
            4 => select(vec!["pod", "uid", "namespace", "name", "workload", "finding", "type",
                "severity", "title", "container", "findings", "received"])
            .prop_map(str::to_owned),
            1 => word(),
        ];
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            vec((key, inner), 0..6).prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

prop_compose! {
    fn container()(
        name in word(), state in word(), step in word(), errno in any::<i32>(),
        gaps in vec(word(), 0..4), engine in word(),
    ) -> Value {
        json!({"name": name, "state": state, "step": step, "errno": errno, "gaps": gaps,
            "engine": engine, "restarts": 1, "events": 7, "lost": 1})
    }
}

prop_compose! {
    fn heartbeat()(
        uid in word(), revision in word(), hash in word(), bundle in word(), reason in word(),
        quarantined in any::<bool>(), uptime in any::<u64>(), containers in vec(container(), 0..66),
    ) -> Value {
        json!({
            "version": 1, "podUid": uid, "revision": revision, "uptimeSeconds": uptime,
            "quarantined": quarantined, "containers": containers,
            "rules": {"bundle": bundle, "hash": hash,
                "rejected": {"bundle": bundle, "reason": reason}},
        })
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_heartbeat_changes_nothing_but_its_own_pod_s_row(body in heartbeat()) {
        take(Kind::Heartbeat, body.to_string().as_bytes());
    }

    #[test]
    fn findings_are_their_sender_s_whatever_they_say(findings in vec(anything(), 0..20)) {
        let body = json!({"findings": findings}).to_string();
        take(Kind::Findings, body.as_bytes());
    }

    #[test]
    fn what_is_no_message_changes_nothing(body in anything(), bytes in vec(any::<u8>(), 0..64)) {
        for kind in [Kind::Heartbeat, Kind::Findings] {
            take(kind, body.to_string().as_bytes());
            take(kind, &bytes);
        }
    }
}

#[test]
fn the_largest_that_is_taken_still_fits_a_report() {
    let long = "x".repeat(253);
    let containers = vec![
        json!({"name": "main", "state": "NotTraced", "step": long, "errno": 1,
            "gaps": vec!["RulesNeedRestart"; 16]});
        64
    ];
    let body = json!({
        "revision": long, "containers": containers, "quarantined": true,
        "rules": {"hash": long, "rejected": {"bundle": long, "reason": "y".repeat(1024)}},
    });
    take(Kind::Heartbeat, body.to_string().as_bytes());
    let batch = json!({"findings": vec![json!({"title": "t", "pod": {"uid": "2"}}); 256]});
    take(Kind::Findings, batch.to_string().as_bytes());
}
