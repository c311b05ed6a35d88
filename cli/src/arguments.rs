//! What can be typed.

mod cluster;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use picket_agent::identity::Mode;
use picket_webhook::entrypoint::Unresolved;
use picket_webhook::entrypoint::reference::Reference;

use crate::examples;

pub(crate) use cluster::{Doctor, Findings, FindingsOutput, Quarantine, Status, StatusOutput};

/// Run-time protection for pods that nobody can reach with eBPF.
#[derive(Debug, Parser)]
#[command(
    name = "picket",
    version,
    propagate_version = true,
    arg_required_else_help = true,
    after_long_help = examples::EXIT_CODES
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Trace a command and print what the rules find.
    ///
    /// Exits as the command does: its exit code, 128 + N after signal N, 127 when it does not
    /// exist, 126 when it cannot be executed, 125 when picket could not start it. Findings go to
    /// standard error, so the command's own output stays clean.
    #[command(after_long_help = examples::RUN)]
    Run(Run),
    /// Write manifests as the webhook would leave their pods.
    #[command(after_long_help = examples::INJECT)]
    Inject(Inject),
    /// Show what the webhook would change in a manifest.
    #[command(after_long_help = examples::DIFF)]
    Diff(Inject),
    /// Write manifests without what Picket added: same meaning, same order.
    #[command(after_long_help = examples::UNINJECT)]
    Uninject(Uninject),
    /// Tell what would happen to the pods of a manifest, and why.
    #[command(after_long_help = examples::EXPLAIN)]
    Explain(Explain),
    /// Inject into task definitions of ECS on Fargate, or take out again what was injected.
    #[command(subcommand)]
    Ecs(Ecs),
    /// Print the CustomResourceDefinitions.
    #[command(after_long_help = examples::CRDS)]
    Crds(Crds),
    /// Check, try and list detection rules.
    #[command(subcommand, after_long_help = examples::RULES)]
    Rules(Rules),
    /// Write a sample finding of each type, marked as a sample.
    ///
    /// To see whether findings arrive: this writes them as the agent would. In a pod,
    /// `kubectl exec POD -c picket-agent -- /picket-agent samples` sends them through the
    /// outputs of the agent that runs there.
    #[command(after_long_help = examples::SAMPLES)]
    Samples(Samples),
    /// Show what is protected in the cluster, what is not, and why.
    ///
    /// Reads the policies and CoverageReports that Picket's operator writes. With --check it
    /// exits with 2 when something should be seen and is not.
    #[command(after_long_help = examples::STATUS)]
    Status(Status),
    /// Show what agents found in the pods of the cluster.
    ///
    /// Asks the replica of the operator that leads, through the API server (port forwarding), with
    /// a token of the service account picket-findings-reader. The rights needed in the operator's
    /// namespace are `create` on serviceaccounts/token of that name, `get` on leases, `create` and
    /// `get` on pods/portforward, and in the cluster `get` on mutatingwebhookconfigurations.
    #[command(after_long_help = examples::FINDINGS)]
    Findings(Findings),
    /// Cut a pod off from the network and from its Services, and keep it for a look.
    ///
    /// Sets the annotation `picket.dev/quarantine`; the operator and the pod's agent do the rest.
    #[command(after_long_help = examples::QUARANTINE)]
    Quarantine(Quarantine),
    /// Undo `picket quarantine`.
    #[command(after_long_help = examples::QUARANTINE)]
    Unquarantine(Quarantine),
    /// Print the completion of commands and, after `rules fields`, of field names.
    ///
    /// For bash: source <(picket completion bash)
    Completion {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Run the main job on this machine: admission, injection, an attack, findings.
    Demo(Demo),
    /// Tell what is wrong, and how to mend it: with this kernel and sandbox, or with a cluster.
    ///
    /// Exits with 1 when something does not work.
    #[command(after_long_help = examples::DOCTOR)]
    Doctor(Doctor),
    /// Tell what this kernel and sandbox allow the tracer to do.
    Probe {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Which rules apply.
#[derive(Debug, Args)]
pub(crate) struct RuleSources {
    /// A policy file, or a folder of *.policy, *.yaml and *.yml files; may be given several
    /// times.
    #[arg(long = "rules", value_name = "FILE|DIR")]
    pub(crate) rules: Vec<PathBuf>,
    /// A list that rules compare with (.ips, .domains, .hashes, .names), or a folder of them;
    /// may be given several times.
    #[arg(long = "lists", value_name = "FILE|DIR")]
    pub(crate) lists: Vec<PathBuf>,
    /// Leave out Picket's own rules and lists.
    #[arg(long)]
    pub(crate) no_default_rules: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) sources: RuleSources,
    /// Print each finding as a JSON line instead of text.
    #[arg(long)]
    pub(crate) json: bool,
    /// Print every event, not only findings.
    #[arg(long, short)]
    pub(crate) verbose: bool,
    /// Write findings to this file instead of standard error.
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Fail instead of running the command untraced where it cannot be traced.
    #[arg(long)]
    pub(crate) require_tracing: bool,
    /// Monitor reports what actions of rules would have done (kill, deny, quarantine); Enforce
    /// does it.
    #[arg(long, default_value = "Monitor", value_name = "Monitor|Enforce")]
    pub(crate) mode: Mode,
    /// The command and its arguments.
    #[arg(last = true, required = true, value_name = "CMD")]
    pub(crate) command: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(crate) struct Samples {
    #[command(flatten)]
    pub(crate) sources: RuleSources,
    /// Print JSON lines, as in a pod, instead of text.
    #[arg(long)]
    pub(crate) json: bool,
    /// Write to this file instead of standard output.
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Inject {
    /// A manifest, or - for standard input: pods, workloads, lists, several documents.
    #[arg(long, short, value_name = "FILE|-")]
    pub(crate) filename: PathBuf,
    /// A file with ProtectionPolicies; without one, everything is selected and monitored.
    #[arg(long, short, value_name = "FILE")]
    pub(crate) policy: Vec<PathBuf>,
    /// Namespace of objects that name none.
    #[arg(long, short, default_value = "default")]
    pub(crate) namespace: String,
    /// Plan only pods that carry Fargate's label already as Fargate pods, instead of all of
    /// them as they will be once AWS has labelled them.
    #[arg(long)]
    pub(crate) labelled_only: bool,
    /// Sidecar image.
    #[arg(long, value_name = "IMAGE", default_value = crate::inject::SIDECAR_IMAGE, value_parser = image)]
    pub(crate) sidecar_image: String,
    #[command(flatten)]
    pub(crate) images: ImageLookup,
}

/// An image, as manifests name it.
fn image(text: &str) -> Result<String, String> {
    let fault = |fault: Unresolved| {
        let fault = fault.detail;
        format!("{fault}; give it as registry/repository@sha256:… or registry/repository:tag")
    };
    Reference::parse(text)
        .map(|_| text.to_owned())
        .map_err(fault)
}

/// How what an image runs is found out, for containers without `command`.
#[derive(Debug, Args)]
pub(crate) struct ImageLookup {
    /// Whether registries are asked what images run, for containers without `command`.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) resolve: Resolve,
    /// What an image runs, from a file with its configuration, as `skopeo inspect --config`
    /// prints it; no registry is asked about it. May be given several times.
    #[arg(long, value_name = "IMAGE=FILE")]
    pub(crate) image_config: Vec<ImageConfigFile>,
    /// Credentials for registries; ~/.docker/config.json by default.
    #[arg(long, value_name = "FILE")]
    pub(crate) docker_config: Option<PathBuf>,
    /// PEM file with certificate authorities of registries, trusted beside the system's.
    #[arg(long, value_name = "FILE")]
    pub(crate) registry_ca: Vec<PathBuf>,
    /// Registry (host, or host:port) that is spoken to without TLS.
    #[arg(long, value_name = "HOST")]
    pub(crate) registry_plain_http: Vec<String>,
}

/// Whether registries are asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Resolve {
    /// No: nothing leaves this machine.
    #[default]
    None,
    /// Yes, with the user's own credentials.
    Registry,
}

/// An image, and the file with its configuration.
#[derive(Debug, Clone)]
pub(crate) struct ImageConfigFile {
    /// The image, as the manifest names it.
    pub(crate) image: String,
    /// The file.
    pub(crate) file: PathBuf,
}

impl std::str::FromStr for ImageConfigFile {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            Some((image, file)) if !image.is_empty() && !file.is_empty() => Ok(Self {
                image: image.to_owned(),
                file: file.into(),
            }),
            _ => Err("give it as IMAGE=FILE"),
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Ecs {
    /// Write a task definition with tracer and agent in it.
    Inject(EcsInject),
    /// Write a task definition without what Picket added.
    Uninject {
        /// A task definition as JSON, or - for standard input.
        #[arg(value_name = "FILE|-")]
        file: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(crate) struct EcsInject {
    /// A task definition as JSON, or - for standard input: as it is registered, or as
    /// `aws ecs describe-task-definition` prints it.
    #[arg(value_name = "FILE|-")]
    pub(crate) file: PathBuf,
    /// A file with one policy: its mode, `containers` and `entrypoint.overrides` count.
    #[arg(long, short, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,
    /// Sidecar image.
    #[arg(long, value_name = "IMAGE", default_value = crate::inject::SIDECAR_IMAGE, value_parser = image)]
    pub(crate) sidecar_image: String,
}

#[derive(Debug, Args)]
pub(crate) struct Explain {
    #[command(flatten)]
    pub(crate) inject: Inject,
    /// Output format.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct Uninject {
    /// A manifest, or - for standard input.
    #[arg(long, short, value_name = "FILE|-")]
    pub(crate) filename: PathBuf,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Crds {
    /// Write one file each into this folder instead of printing.
    #[arg(long, value_name = "DIR")]
    pub(crate) write: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) action: Option<CrdsAction>,
}

/// What to do with the definitions beside printing them.
#[derive(Debug, Subcommand)]
pub(crate) enum CrdsAction {
    /// Install them in the cluster, or bring them to this version; objects stay as they are.
    ///
    /// Uses the kubeconfig as kubectl does, or the service account inside a cluster.
    Apply {
        /// Ask the API server whether it would accept them, and change nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// Remove them from the cluster, and with them every policy, rule set and report.
    Delete {
        /// Say that this is meant.
        #[arg(long, required = true)]
        yes: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Rules {
    /// Check policy files; exit 1 when a rule does not load.
    Check {
        /// Policy files, or folders of *.policy, *.yaml and *.yml files.
        #[arg(required = true, value_name = "FILE|DIR")]
        files: Vec<PathBuf>,
        /// A list that the rules compare with, or a folder of them.
        #[arg(long = "lists", value_name = "FILE|DIR")]
        lists: Vec<PathBuf>,
        /// Output format.
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Evaluate expressions against events: JSON lines in, JSON lines out.
    ///
    /// In: {"expr": "…", "event": {"type": "open", "open.file.path": "/etc/shadow"},
    /// "variables": {…}, "macros": {…}}. Out: {"result": true}, or {"error": "…", "column": N}.
    #[command(after_long_help = examples::EVAL)]
    Eval {
        /// Use this catalogue of fields (JSON) instead of Picket's.
        #[arg(long, value_name = "FILE")]
        fields: Option<PathBuf>,
    },
    /// Run rule tests (YAML) against the rules; exit 1 when one fails.
    Test {
        #[command(flatten)]
        sources: RuleSources,
        /// Test files.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Output format.
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Tell everything about a rule.
    Explain {
        #[command(flatten)]
        sources: RuleSources,
        /// The rule's id.
        #[arg(add = clap_complete::ArgValueCompleter::new(crate::complete::rule))]
        rule: String,
        /// Output format.
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// List the rules.
    List {
        #[command(flatten)]
        sources: RuleSources,
        /// Output format.
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// List the lists that the rules compare with, how long they are, and who uses them.
    Lists {
        #[command(flatten)]
        sources: RuleSources,
        /// Output format.
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Tell about event types and fields, in the manner of `kubectl explain`.
    ///
    /// Without a name: all event types. With an event type, or `common` for what every event
    /// has: what it is and its fields. With a field: all that is known about it. With the
    /// beginning of a name: what it can go on with.
    Fields {
        /// An event type, a field, or the beginning of a field's name.
        #[arg(add = clap_complete::ArgValueCompleter::new(crate::complete::field))]
        name: Option<String>,
        /// Every field below, not only one level; JSON has all of them anyway.
        #[arg(long)]
        recursive: bool,
        /// Output format.
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Measure how many events of each type the rules take in a second.
    Bench {
        #[command(flatten)]
        sources: RuleSources,
        /// Events of each type.
        #[arg(long, default_value_t = 1_000_000)]
        events: u32,
        /// Output format.
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
}

/// How results are printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Send honest visitors instead of an attacker; succeeds only without a finding.
    #[arg(long)]
    pub(crate) benign: bool,
    /// Print the agent's JSON lines as they are.
    #[arg(long)]
    pub(crate) json: bool,
    /// Folder with picket-tracer, picket-agent and picket-demo-shop; default: this program's.
    #[arg(long, value_name = "DIR")]
    pub(crate) binaries: Option<PathBuf>,
}
