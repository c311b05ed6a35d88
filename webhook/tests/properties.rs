//! Whatever the pod: everything that is not ours stays as it is, and twice equals once.

mod common;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use picket_crds::{EntrypointOverride, NativeSidecar, Provider, Sizing};
use picket_webhook::entrypoint::Images;
use picket_webhook::inject::{Options, inject_manifest, uninject_manifest};
use picket_webhook::plan::uninjected;
use picket_webhook::{Outcome, Policy};

/// How a manifest is written: as JSON, with the line ends of Windows.
type Style = (bool, bool);

fn style() -> impl Strategy<Value = Style> {
    (any::<bool>(), any::<bool>())
}

/// Documents as text.
fn written(documents: &[Value], (json, windows): Style) -> String {
    let documents = documents.iter().map(|document| match json {
        true => serde_json::to_string_pretty(document).expect("JSON") + "\n",
        false => serde_saphyr::to_string(document).expect("YAML"),
    });
    let text = documents.collect::<Vec<_>>().join("---\n");
    match windows {
        true => text.replace('\n', "\r\n"),
        false => text,
    }
}

fn read(document: &str) -> Value {
    serde_json::from_str(document)
        .unwrap_or_else(|_| serde_saphyr::from_str(document).expect("YAML"))
}

/// Any JSON, as fields that nobody has heard of yet may hold.
fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        // Of the length that people write: longer ones are rounded by who reads JSON.
        any::<i32>().prop_map(|number| Value::from(f64::from(number) / 8.0)),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            btree_map("[a-zA-Z~/]{1,8}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Fields that a pod does not have today.
fn unknown_fields() -> impl Strategy<Value = Map<String, Value>> {
    btree_map("future[A-Z~/][a-z]{0,4}", anything(), 0..3).prop_map(|map| map.into_iter().collect())
}

fn words() -> impl Strategy<Value = Option<Vec<String>>> {
    prop::option::of(vec("[-a-z$(){}/]{0,6}", 0..4))
}

fn container() -> impl Strategy<Value = Value> {
    let mounts = vec(
        (
            "[a-d]",
            prop_oneof![
                "/[a-d]{1,2}",
                Just("/picket/x".to_owned()),
                Just("/picketry".to_owned())
            ],
        ),
        0..3,
    );
    let resources = prop_oneof![
        Just(Value::Null),
        (1_u32..4000, 1_u32..4000).prop_map(|(cpu, memory)| json!({"requests": {"cpu": format!("{cpu}m"), "memory": format!("{memory}Mi")}})),
    ];
    let native = prop_oneof![3 => Just(Value::Null), 1 => Just(json!("Always"))];
    let command = || vec("[-a-z$(){}/]{1,6}", 1..3);
    let beside = (
        prop::option::of(command()),
        prop::option::of(command()),
        prop::option::of(command()),
    )
        .prop_map(|(probe, start, stop)| {
            let mut beside = Map::new();
            if let Some(probe) = probe {
                beside.insert("livenessProbe".into(), json!({"exec": {"command": probe}}));
            }
            let hooks = [("postStart", start), ("preStop", stop)];
            let hooks: Map<String, Value> = hooks
                .into_iter()
                .filter_map(|(hook, words)| {
                    Some((hook.into(), json!({"exec": {"command": words?}})))
                })
                .collect();
            if !hooks.is_empty() {
                beside.insert("lifecycle".into(), hooks.into());
            }
            beside
        });
    (
        words(),
        words(),
        mounts,
        resources,
        native,
        (unknown_fields(), beside),
        any::<bool>(),
    )
        .prop_map(
            |(command, args, mounts, resources, native, (unknown, beside), keep_absent)| {
                let mut container =
                    json!({"image": "registry.example/app:1", "resources": resources});
                for (field, words) in [("command", command), ("args", args)] {
                    match words {
                        Some(words) => container[field] = words.into(),
                        None if keep_absent => {}
                        None => container[field] = Value::Null,
                    }
                }
                let mut seen = std::collections::BTreeSet::new();
                let mounts: Vec<Value> = mounts
                    .into_iter()
                    .filter(|(_, path)| seen.insert(path.clone()))
                    .map(|(name, path)| json!({"name": name, "mountPath": path}))
                    .collect();
                if !mounts.is_empty() {
                    container["volumeMounts"] = mounts.into();
                }
                if !native.is_null() {
                    container["restartPolicy"] = native;
                }
                container.as_object_mut().unwrap().extend(unknown);
                container.as_object_mut().unwrap().extend(beside);
                container
            },
        )
}

fn pod() -> impl Strategy<Value = Value> {
    let fargate = any::<bool>();
    let restart = prop_oneof![Just("Always"), Just("Never"), Just("OnFailure")];
    let uids = prop::option::of(64736_u32..64740);
    (
        vec(container(), 1..4),
        prop::option::of(vec(container(), 0..3)),
        unknown_fields(),
        unknown_fields(),
        fargate,
        restart,
        uids,
        vec("[a-d]", 0..3),
    )
        .prop_map(
            |(containers, inits, in_spec, in_metadata, fargate, restart, uid, mut volumes)| {
                let named = |prefix: &str, containers: Vec<Value>| -> Vec<Value> {
                    let named = containers
                        .into_iter()
                        .enumerate()
                        .map(|(index, mut container)| {
                            container["name"] = format!("{prefix}-{index}").into();
                            container
                        });
                    named.collect()
                };
                volumes.sort();
                volumes.dedup();
                let mut pod = json!({
                    "metadata": {"generateName": "app-", "labels": {"app": "web"}},
                    "spec": {"containers": named("app", containers), "restartPolicy": restart},
                });
                if let Some(inits) = inits {
                    pod["spec"]["initContainers"] = named("init", inits).into();
                }
                if !volumes.is_empty() {
                    let volumes = volumes
                        .into_iter()
                        .map(|name| json!({"name": name, "emptyDir": {}}));
                    pod["spec"]["volumes"] = volumes.collect();
                }
                if fargate {
                    pod["metadata"]["labels"]["eks.amazonaws.com/fargate-profile"] = "shop".into();
                }
                if let Some(uid) = uid {
                    pod["spec"]["securityContext"] = json!({"runAsUser": uid});
                }
                pod["spec"].as_object_mut().unwrap().extend(in_spec);
                pod["metadata"].as_object_mut().unwrap().extend(in_metadata);
                pod
            },
        )
}

fn policy() -> impl Strategy<Value = Policy> {
    let natives = prop_oneof![Just(NativeSidecar::Auto), Just(NativeSidecar::Never)];
    let coverage = (any::<bool>(), any::<bool>(), any::<bool>());
    (
        natives,
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
        coverage,
    )
        .prop_map(
            |(native, fixed, overrides, inits, (probes, hooks, datadog))| {
                let mut policy = common::everything("shop");
                policy.spec.agent.native = native;
                policy.spec.coverage.exec_probes = probes;
                policy.spec.coverage.lifecycle_hooks = hooks;
                if datadog {
                    policy.spec.provider = Provider::Datadog;
                    policy.spec.datadog.share_process_namespace = hooks;
                }
                policy.spec.agent.sizing = if fixed {
                    Sizing::Fixed
                } else {
                    Sizing::FitHeadroom
                };
                policy.spec.containers.init_containers = inits;
                if overrides {
                    policy.spec.entrypoint.overrides.push(EntrypointOverride {
                        container: Some("*".into()),
                        entrypoint: vec!["/entry".into(), "$x".into()],
                        cmd: vec!["run".into()],
                        ..EntrypointOverride::default()
                    });
                }
                policy
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn only_our_places_differ_and_twice_equals_once(pod in pod(), policy in policy()) {
        let first = common::planned(&pod, policy.clone());
        let injected = common::apply(&pod, &first);
        let again = common::planned(&injected, policy.clone());
        prop_assert_eq!(&again.operations, &vec![]);
        if first.report.outcome() == Outcome::Injected {
            common::assert_only_our_places_differ(&pod, &injected);
            let original = uninjected(&injected).expect("can be given back");
            prop_assert_eq!(common::without_empty(&original), common::without_empty(&pod));
        } else {
            prop_assert_eq!(&injected, &pod);
        }
    }

    #[test]
    fn a_disturbed_injection_is_repaired(pod in pod(), policy in policy(), seed in any::<prop::sample::Index>(), cut in any::<prop::sample::Index>()) {
        let first = common::planned(&pod, policy.clone());
        if first.report.outcome() != Outcome::Injected {
            return Ok(());
        }
        let injected = common::apply(&pod, &first);
        let mut disturbed = injected.clone();
        // Another webhook puts something first, and loses one of our entries.
        let inits = disturbed["spec"]["initContainers"].as_array_mut().unwrap();
        let moved = inits.remove(cut.index(inits.len()));
        let stranger = json!({"name": "stranger", "image": "x"});
        inits.insert(0, stranger);
        let at = seed.index(inits.len() + 1);
        inits.insert(at, moved);
        let repaired = common::apply(&disturbed, &common::planned(&disturbed, policy.clone()));
        let settled = common::planned(&repaired, policy);
        prop_assert_eq!(&settled.operations, &vec![]);
        prop_assert_eq!(&repaired["spec"]["initContainers"][0]["name"], "picket-setup");
    }

    #[test]
    fn no_value_makes_the_planner_panic(pod in anything(), spec in anything(), containers in anything()) {
        for value in [pod, json!({"metadata": {"annotations": {"picket.dev/status": "{}"}}, "spec": spec}), json!({"spec": {"containers": containers}})] {
            let plan = common::planned(&value, common::everything("shop"));
            prop_assert!(plan.operations.is_empty() || plan.report.outcome() == Outcome::Injected);
        }
    }
}

proptest! {
    // Each of these reads and writes manifests several times.
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    /// `picket inject` and `picket uninject` on text, whatever is in it.
    #[test]
    fn a_manifest_comes_back_in_meaning_and_order(pods in vec(pod(), 1..4), other in unknown_fields(), policy in policy(), style in style()) {
        let documents: Vec<Value> = pods
            .into_iter()
            .flat_map(|pod| [
                json!({"apiVersion": "example.com/v1", "kind": "Other", "spec": {"template": pod.clone()}, "rest": other.clone()}),
                json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {"template": pod}}),
            ])
            .collect();
        let text = written(&documents, style);
        let settings = common::settings();
        let policies = [std::sync::Arc::new(policy)];
        let options = Options { settings: &settings, policies: &policies, namespace: "shop", fargate: None, images: Images::NONE };
        let injected = inject_manifest(&text, &options).expect("a manifest");
        let twice = inject_manifest(&injected.text, &options).expect("a manifest");
        prop_assert_eq!(&twice.text, &injected.text);
        let (back, changed) = uninject_manifest(&injected.text).expect("a manifest");
        let reports = injected.workloads.iter().map(|workload| workload.report.outcome());
        prop_assert_eq!(changed, reports.filter(|outcome| *outcome == Outcome::Injected).count());
        let in_order = |text: &str| -> Vec<String> {
            let text = text.replace("\r\n", "\n");
            let documents = text.split("\n---\n");
            documents.map(|text| common::without_empty(&read(text)).to_string()).collect()
        };
        prop_assert_eq!(in_order(&back), in_order(&text));
    }
}
