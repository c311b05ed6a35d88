//! `picket demo`: the main job, without a cluster and without a container engine.
//!
//! A sample Deployment's pod and a sample policy go as a genuine AdmissionReview over TLS
//! through the real webhook; the injected pod's containers then run as local processes, an
//! attacker visits, and what the agent reports is compared with what the attacker did.

mod admission;
mod kubelet;
mod pod;
mod review;
mod run;
mod visitor;

use std::collections::BTreeMap;
use std::io::{Write, stdout};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use picket_events::text::counted;
use serde_json::Value;

use crate::arguments;
use crate::terminal::{self, Style};

const DEPLOYMENT: &str = include_str!("../../demo/deployment.yaml");
const POLICY: &str = include_str!("../../demo/policy.yaml");
const SIDECAR_IMAGE: &str = "registry.example/picket-sidecar:demo";

/// A small program that any machine has, for the attacker to bring along.
const TOOL: &str = "/usr/bin/id";

/// What the attacker does, and the rule that has to tell.
const ATTACK: [(&str, &str); 3] = [
    (
        "a shell from a web process",
        "picket_shell_from_network_service",
    ),
    (
        "a download made executable and run",
        "picket_new_binary_executed",
    ),
    (
        "a read of the service-account token",
        "picket_service_account_token_read",
    ),
];

/// What keeps the demo from telling success from failure.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DemoError {
    /// A program of the images is not there.
    #[error("{0} is not there; build it with `make build`, or name its folder with --binaries")]
    Missing(PathBuf),
    /// The machine refused something.
    #[error("{what}: {source}")]
    Host {
        /// What was tried.
        what: &'static str,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The control plane did not start.
    #[error("control plane: {0}")]
    ControlPlane(String),
    /// The webhook did not answer as an API server needs it.
    #[error(transparent)]
    Review(#[from] review::ReviewError),
    /// The pod came back without what Picket adds.
    #[error("the webhook left the pod as it was: {0}")]
    NotInjected(String),
    /// The pod did not run.
    #[error(transparent)]
    Run(#[from] run::RunError),
}

fn host(what: &'static str) -> impl FnOnce(std::io::Error) -> DemoError {
    move |source| DemoError::Host { what, source }
}

/// Runs the demo; true when the findings are exactly those that belong to what was done.
///
/// # Errors
/// Anything that kept it from coming to that question.
pub(crate) fn demo(arguments: &arguments::Demo) -> Result<bool, DemoError> {
    let style = Style::detect(&stdout());
    let images = find_images(arguments.binaries.as_deref())?;
    let state = tempfile::Builder::new().prefix("picket-demo-").tempdir();
    let state = state.map_err(host("make a temporary folder"))?;
    open_to_containers(state.path())?;
    let shop = free_address()?;

    heading(
        style,
        1,
        "A Deployment's pod is sent to the webhook, as an API server does",
    );
    let deployment: Value = serde_saphyr::from_str(DEPLOYMENT).expect("the demo's manifest");
    let pod = pod::from_deployment(&deployment, shop.port());
    let reviewed = admission::review_in_process(&pod)?;
    for warning in &reviewed.warnings {
        println!("warning: {warning}");
    }
    println!(
        "{}",
        crate::diff::render(&yaml(&pod), &yaml(&reviewed.pod), style)
    );
    if reviewed.operations == 0 {
        return Err(DemoError::NotInjected(reviewed.warnings.join("; ")));
    }

    heading(
        style,
        2,
        "The injected pod's containers run as local processes",
    );
    let stored = pod::stored(reviewed.pod);
    let visit = |shop| {
        println!("the shop is open on http://{shop}");
        if arguments.benign {
            honest_visit(shop, style)
        } else {
            attack(shop, style)
        }
    };
    let lines = run::pod(&stored, state.path(), &images, shop, visit)?;

    heading(style, 3, "What the agent reported");
    let findings: Vec<&Value> = lines
        .iter()
        .filter(|line| line["finding"].is_object())
        .collect();
    for line in &lines {
        print!(
            "{}",
            if arguments.json {
                format!("{line}\n")
            } else if line["finding"].is_object() {
                terminal::finding(line, style) + "\n"
            } else {
                terminal::internal(line, style)
            }
        );
    }
    let expected: &[_] = if arguments.benign { &[] } else { &ATTACK };
    let traced = lines
        .iter()
        .any(|line| line["agent"]["rule_id"] == "ruleset_loaded");
    Ok(verdict(&findings, expected, style) && traced)
}

/// Compares findings with what was done, one line each.
fn verdict(findings: &[&Value], expected: &[(&str, &str)], style: Style) -> bool {
    let mut unexplained: BTreeMap<&str, usize> = BTreeMap::new();
    for finding in findings {
        *unexplained
            .entry(finding["agent"]["rule_id"].as_str().unwrap_or("?"))
            .or_default() += 1;
    }
    let mut good = true;
    for (what, rule) in expected {
        let found = unexplained.remove(rule).unwrap_or(0);
        let mark = if found == 1 {
            style.green("ok  ")
        } else {
            style.red("FAIL")
        };
        good &= found == 1;
        let found = counted(found, "finding", "findings");
        println!("{mark} {what}: {found} of rule {rule}");
    }
    for (rule, count) in unexplained {
        let count = counted(count, "finding", "findings");
        println!(
            "{} {count} of rule {rule} that nothing explains",
            style.red("FAIL")
        );
        good = false;
    }
    let findings = counted(findings.len(), "finding", "findings");
    println!("{findings}, {} expected", expected.len());
    good
}

fn attack(shop: SocketAddr, style: Style) -> std::io::Result<()> {
    let attacker = visitor::serve_tool(TOOL.into())?;
    let injection = visitor::injection(attacker);
    println!(
        "an attacker types into the diagnostics form: {}",
        style.bold(&injection)
    );
    let answer = visitor::get(
        shop,
        &format!("/diagnostics?host={}", visitor::encode(&injection)),
    )?;
    for line in answer.lines() {
        println!("{}", style.dim(&format!("  {line}")));
    }
    // An attack that did not work proves nothing about the defence.
    for sign in ["uid=", "demo.token"] {
        if !answer.contains(sign) {
            return Err(std::io::Error::other(format!(
                "the attack failed: no {sign:?} in the answer"
            )));
        }
    }
    Ok(())
}

fn honest_visit(shop: SocketAddr, style: Style) -> std::io::Result<()> {
    for _ in 0..20 {
        visitor::get(shop, "/")?;
        visitor::get(shop, "/orders")?;
    }
    let orders = visitor::get(shop, "/orders")?;
    println!(
        "40 visitors looked around: {}",
        style.dim(&orders.replace('\n', "; "))
    );
    Ok(())
}

fn find_images(binaries: Option<&Path>) -> Result<run::Images, DemoError> {
    let own = std::env::current_exe().map_err(host("find this program"))?;
    let folder = binaries.or_else(|| own.parent()).unwrap_or(Path::new("."));
    let find = |name: &str| match folder.join(name).canonicalize() {
        Ok(path) => Ok(path),
        Err(_) => Err(DemoError::Missing(folder.join(name))),
    };
    Ok(run::Images {
        sidecar: SIDECAR_IMAGE.into(),
        tracer: find("picket-tracer")?,
        agent: find("picket-agent")?,
        shop: find("picket-demo-shop")?,
    })
}

/// Containers run under other user ids and have to get to their volumes.
fn open_to_containers(state: &Path) -> Result<(), DemoError> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(state, std::fs::Permissions::from_mode(0o755))
        .map_err(host("open the temporary folder"))
}

/// An address that is free now: containers here share the host's network.
fn free_address() -> Result<SocketAddr, DemoError> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(host("find a free port"))?;
    listener.local_addr().map_err(host("find a free port"))
}

fn yaml(pod: &Value) -> String {
    serde_saphyr::to_string(pod).unwrap_or_else(|error| format!("{error}\n"))
}

fn heading(style: Style, number: usize, text: &str) {
    println!("\n{}\n", style.bold(&format!("{number}. {text}")));
    // The containers' output comes through other handles.
    let _ = stdout().flush();
}
