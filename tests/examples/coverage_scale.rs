//! What coverage costs in a large cluster: 1,000, 3,000 and 10,000 pods of a tenth as many
//! workloads in a real API server, already injected and running as far as it knows. Measured are
//! the time from the operator's start until every report and the policy are true, the time from a
//! pod's change to its report, and the operator's memory and CPU time.
//!
//! `make bench-coverage`, or
//! `cargo run --release -p picket-tests --features control-plane --example coverage_scale -- --help`

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::Parser;
use futures::{StreamExt, TryStreamExt, stream};
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::DynamicObject;
use kube::discovery::ApiResource;
use kube::{Api, Client};
use picket_crds::{ClusterProtectionPolicy, CoverageReport};
use picket_tests::kube::{ControlPlane, Operator, Options, kubelet};
use picket_tests::usage::{cpu_seconds, peak_mebibytes};
use serde_json::{Value, json};

/// Pods of each workload.
const PODS: usize = 10;
/// Workloads of each namespace.
const WORKLOADS: usize = 50;
/// Objects that are made at once.
const AT_ONCE: usize = 32;
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(600);

/// Measures what coverage costs in a large cluster.
#[derive(Parser)]
struct Arguments {
    /// Pods of each measurement, in tens.
    #[arg(default_values_t = [1_000, 3_000, 10_000])]
    pods: Vec<usize>,
    /// Changes of which the median is told.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..))]
    changes: u16,
    /// Seconds over which the idle operator is watched.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    idle: u64,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    println!(
        "{:>7} {:>9} {:>12} {:>14} {:>11} {:>9} {:>14}",
        "pods", "workloads", "all true in", "change seen in", "CPU to true", "peak MiB", "CPU idle"
    );
    let runtime = tokio::runtime::Runtime::new()?;
    for pods in &arguments.pods {
        runtime.block_on(measure(*pods, &arguments))?;
    }
    Ok(())
}

async fn measure(pods: usize, arguments: &Arguments) -> anyhow::Result<()> {
    let control_plane: &'static ControlPlane = Box::leak(Box::new(ControlPlane::start()?));
    let kubeconfig = control_plane.folder().join("admin.kubeconfig");
    let client = kubelet::client(&kubeconfig).await;
    let workloads = pods.div_ceil(PODS);
    fill(&client, workloads).await?;

    let begun = Instant::now();
    let operator =
        tokio::task::spawn_blocking(move || Operator::install(control_plane, &Options::default()))
            .await?;
    let process = operator.replicas[0].process().id();
    // The definitions come with the operator, so the policy comes after it.
    let started = Instant::now();
    let cpu = cpu_seconds(process)?;
    policy(&client).await?;
    let wanted = workloads * PODS;
    until("every report is true", async || {
        Ok(reported(&client).await? == (workloads, wanted))
    })
    .await?;
    // The pods are older than the policy, so none of them has its present form.
    until("the policy is true", async || {
        let policies: Api<ClusterProtectionPolicy> = Api::all(client.clone());
        let status = policies.get("all").await?.status.unwrap_or_default();
        Ok(status
            .coverage
            .is_some_and(|counts| counts.reporting as usize == wanted))
    })
    .await?;
    let took = started.elapsed();
    let to_true = cpu_seconds(process)? - cpu;

    let mut seen = Vec::new();
    for number in 0..usize::from(arguments.changes) {
        seen.push(change(&client, number % workloads).await?);
    }
    seen.sort();
    let idle = Duration::from_secs(arguments.idle);
    let before = cpu_seconds(process)?;
    tokio::time::sleep(idle).await;
    let idle_cpu = (cpu_seconds(process)? - before) / idle.as_secs_f64();
    println!(
        "{wanted:>7} {workloads:>9} {:>10.1} s {:>12.1} s {to_true:>9.1} s {:>9} {:>8.2} % core   (installed in {:.1} s)",
        took.as_secs_f64(),
        seen[seen.len() / 2].as_secs_f64(),
        peak_mebibytes(process)?,
        idle_cpu * 100.0,
        (started - begun).as_secs_f64(),
    );
    Ok(())
}

/// Makes Deployments, their ReplicaSets and pods that look injected and run.
async fn fill(client: &Client, workloads: usize) -> anyhow::Result<()> {
    for number in 0..workloads.div_ceil(WORKLOADS) {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace(number)}});
        create(client, None, "", "Namespace", "namespaces", namespace).await?;
        let name = self::namespace(number);
        let account =
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
        create(
            client,
            Some(&name),
            "",
            "ServiceAccount",
            "serviceaccounts",
            account,
        )
        .await?;
    }
    stream::iter(0..workloads)
        .map(|number| workload(client, number))
        .buffer_unordered(AT_ONCE)
        .try_collect::<Vec<()>>()
        .await?;
    Ok(())
}

fn namespace(number: usize) -> String {
    format!("team-{number}")
}

async fn workload(client: &Client, number: usize) -> anyhow::Result<()> {
    let namespace = namespace(number / WORKLOADS);
    let name = format!("web-{number}");
    let template = json!({
        "metadata": {"labels": {"app": name}},
        "spec": {"containers": [{"name": "web", "image": "registry.example/web:1", "command": ["/bin/web"]}]},
    });
    let spec = json!({
        "replicas": PODS,
        "selector": {"matchLabels": {"app": name}},
        "template": template,
    });
    let object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec});
    let deployment = create(
        client,
        Some(&namespace),
        "apps",
        "Deployment",
        "deployments",
        object,
    )
    .await?;
    let owner = json!([{
        "apiVersion": "apps/v1", "kind": "Deployment", "name": name,
        "uid": deployment.metadata.uid, "controller": true,
    }]);
    let object = json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {"name": format!("{name}-1"), "ownerReferences": owner},
        "spec": spec,
    });
    let set = create(
        client,
        Some(&namespace),
        "apps",
        "ReplicaSet",
        "replicasets",
        object,
    )
    .await?;
    for pod in 0..PODS {
        let pod = format!("{name}-1-{pod}");
        let object = self::pod(&pod, &name, set.metadata.uid.as_deref().unwrap_or_default());
        create(client, Some(&namespace), "", "Pod", "pods", object).await?;
        let pods: Api<DynamicObject> =
            Api::namespaced_with(client.clone(), &namespace, &resource("", "Pod", "pods"));
        let status = json!({"status": status()});
        pods.patch_status(&pod, &PatchParams::default(), &Patch::Merge(status))
            .await?;
    }
    Ok(())
}

/// A pod as the webhook leaves it, of the size that pods have.
fn pod(name: &str, app: &str, set: &str) -> Value {
    let mount = json!([{"name": "picket", "mountPath": "/picket"}]);
    let claimed = json!({
        "revision": env!("CARGO_PKG_VERSION"), "policy": "all", "mode": "Monitor", "agent": "NativeSidecar",
        "containers": [{"name": "web", "argvSource": "Spec", "command": 1}],
        "qos": {"before": "BestEffort", "after": "Burstable"},
    });
    let environment: Vec<Value> = (0..20)
        .map(|number| json!({"name": format!("SETTING_{number}"), "value": "x".repeat(40)}))
        .collect();
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name,
            "labels": {"app": app, "pod-template-hash": "1", "app.kubernetes.io/part-of": "shop"},
            "annotations": {"picket.dev/status": claimed.to_string()},
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("{app}-1"),
                "uid": set, "controller": true,
            }],
        },
        "spec": {
            "nodeName": format!("fargate-{name}"),
            "automountServiceAccountToken": false,
            "initContainers": [
                {"name": "picket-setup", "image": "registry.example/sidecar:1", "volumeMounts": mount},
                {"name": "picket-agent", "image": "registry.example/sidecar:1", "restartPolicy": "Always", "volumeMounts": mount},
            ],
            "containers": [{
                "name": "web", "image": "registry.example/web:1",
                "command": ["/picket/picket-tracer", "trace", "--"], "args": ["/bin/web"],
                "env": environment, "volumeMounts": mount,
            }],
            "volumes": [{"name": "picket", "emptyDir": {"sizeLimit": "32Mi"}}],
        },
    })
}

fn status() -> Value {
    let running = |name: &str| {
        json!({
            "name": name, "ready": true, "restartCount": 0, "image": "registry.example/web:1",
            "imageID": "registry.example/web@sha256:0", "started": true,
            "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}},
        })
    };
    json!({
        "phase": "Running", "podIP": "10.0.0.1",
        "conditions": [{"type": "Ready", "status": "True"}],
        "initContainerStatuses": [running("picket-agent")],
        "containerStatuses": [running("web")],
    })
}

fn resource(group: &str, kind: &str, plural: &str) -> ApiResource {
    let version = "v1";
    let api_version = match group {
        "" => version.to_owned(),
        group => format!("{group}/{version}"),
    };
    ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version,
        kind: kind.to_owned(),
        plural: plural.to_owned(),
    }
}

async fn create(
    client: &Client,
    namespace: Option<&str>,
    group: &str,
    kind: &str,
    plural: &str,
    object: Value,
) -> anyhow::Result<DynamicObject> {
    let resource = resource(group, kind, plural);
    let api: Api<DynamicObject> = match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    let object: DynamicObject = serde_json::from_value(object)?;
    api.create(&PostParams::default(), &object)
        .await
        .with_context(|| format!("cannot create a {kind}"))
}

async fn policy(client: &Client) -> anyhow::Result<()> {
    let policies: Api<ClusterProtectionPolicy> = Api::all(client.clone());
    let policy = serde_json::from_value(json!({
        "apiVersion": "picket.dev/v1alpha1", "kind": "ClusterProtectionPolicy",
        "metadata": {"name": "all"},
        "spec": {"computeType": "Any"},
    }))?;
    policies.create(&PostParams::default(), &policy).await?;
    Ok(())
}

/// Healthy workloads and their current pods, by the reports.
async fn reported(client: &Client) -> anyhow::Result<(usize, usize)> {
    let reports: Api<CoverageReport> = Api::all(client.clone());
    let reports = reports.list(&Default::default()).await?.items;
    let summaries = reports
        .iter()
        .filter_map(|report| report.status.as_ref())
        .filter(|status| status.summary.workloads > 0)
        .map(|status| &status.summary);
    let mut sum = (0, 0);
    for summary in summaries {
        sum.0 += (summary.workloads - summary.unhealthy) as usize;
        sum.1 += summary.pods.reporting as usize;
    }
    Ok(sum)
}

/// How long it takes until a pod's agent that is not ready any more is in its report, there and
/// back.
async fn change(client: &Client, workload: usize) -> anyhow::Result<Duration> {
    let namespace = namespace(workload / WORKLOADS);
    let resource = resource("", "Pod", "pods");
    let pods: Api<DynamicObject> = Api::namespaced_with(client.clone(), &namespace, &resource);
    let reports: Api<CoverageReport> = Api::namespaced(client.clone(), &namespace);
    let name = format!("web-{workload}-1-0");
    let reporting = async || {
        let report = reports.get("coverage").await?.status.unwrap_or_default();
        let mut rows = report.workloads.iter();
        let row = rows.find(|row| row.name == format!("web-{workload}"));
        Ok::<_, anyhow::Error>(row.map_or(0, |row| row.pods.reporting as usize))
    };
    let mut status = json!({"status": self::status()});
    status["status"]["initContainerStatuses"][0]["ready"] = json!(false);
    let begun = Instant::now();
    pods.patch_status(&name, &PatchParams::default(), &Patch::Merge(status))
        .await?;
    until("the change is in the report", async || {
        Ok(reporting().await? == PODS - 1)
    })
    .await?;
    let took = begun.elapsed();
    let status = json!({"status": self::status()});
    pods.patch_status(&name, &PatchParams::default(), &Patch::Merge(status))
        .await?;
    until("the change back is in the report", async || {
        Ok(reporting().await? == PODS)
    })
    .await?;
    Ok(took)
}

async fn until(what: &str, look: impl AsyncFn() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if look().await? {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
