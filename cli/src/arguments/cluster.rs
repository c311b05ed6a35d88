//! What can be typed about a cluster.

use clap::Args;
use picket_events::finding::Severity;

use super::Format;

#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Only this namespace; all of them by default.
    #[arg(long, short)]
    pub(crate) namespace: Option<String>,
    /// Only workloads of which something that should be seen is not.
    #[arg(long)]
    pub(crate) unhealthy: bool,
    /// Go on, and show each workload that changes.
    #[arg(long, short)]
    pub(crate) watch: bool,
    /// Output format; JSON with --watch is a line for each workload.
    #[arg(long, short, visible_alias = "format", value_enum, default_value_t)]
    pub(crate) output: Output,
    /// Exit with 2 when something should be seen and is not.
    #[arg(long, conflicts_with = "watch")]
    pub(crate) check: bool,
}

/// How what a cluster says is written. `text` and `--format` are what other commands call it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Output {
    /// For people.
    #[default]
    #[value(alias = "text")]
    Table,
    /// For programs.
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct Findings {
    /// Only of pods of this namespace; of all by default.
    #[arg(long, short)]
    pub(crate) namespace: Option<String>,
    /// Only those that are at least as bad.
    #[arg(long, short, value_enum, default_value_t)]
    pub(crate) severity: LeastSeverity,
    /// Only those of the rule with this id.
    #[arg(long, short)]
    pub(crate) rule: Option<String>,
    /// Go on, and show those that come.
    #[arg(long, short)]
    pub(crate) watch: bool,
    /// Output format; JSON is a line for each finding.
    #[arg(long, short, visible_alias = "format", value_enum, default_value_t)]
    pub(crate) output: Output,
    /// Namespace of the operator.
    #[arg(long, default_value = "picket-system")]
    pub(crate) operator_namespace: String,
    /// Ask here instead of forwarding a port: in the cluster `picket-relay.picket-system.svc:8444`,
    /// or the end of a tunnel of your own.
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) relay: Option<String>,
    /// The operator's MutatingWebhookConfiguration, which says whom to trust.
    #[arg(long, default_value = crate::doctor::facts::CONFIGURATION, hide = true)]
    pub(crate) webhook_configuration: String,
}

/// How bad a finding is at least.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LeastSeverity {
    /// All of them.
    #[default]
    Info,
    /// Worth knowing.
    Low,
    /// Look at it today.
    Medium,
    /// Look at it now.
    High,
    /// Somebody is inside.
    Critical,
}

impl From<LeastSeverity> for Severity {
    fn from(least: LeastSeverity) -> Self {
        match least {
            LeastSeverity::Info => Self::Info,
            LeastSeverity::Low => Self::Low,
            LeastSeverity::Medium => Self::Medium,
            LeastSeverity::High => Self::High,
            LeastSeverity::Critical => Self::Critical,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Quarantine {
    /// The pod.
    #[arg(value_name = "POD")]
    pub(crate) pod: String,
    /// Its namespace.
    #[arg(long, short, default_value = "default")]
    pub(crate) namespace: String,
}

#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Look at the installation in the cluster of KUBECONFIG, or of the pod that this runs in.
    #[arg(long)]
    pub(crate) cluster: bool,
    /// Namespace of the control plane.
    #[arg(long, short, default_value = "picket-system", requires = "cluster")]
    pub(crate) namespace: String,
    /// Namespace in which a pod is created for trial, as a dry run; without it, those that have a
    /// ProtectionPolicy. May be given several times.
    #[arg(long, value_name = "NAMESPACE", requires = "cluster")]
    pub(crate) try_in: Vec<String>,
    /// Form of the report.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
}
