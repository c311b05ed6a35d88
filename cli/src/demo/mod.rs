//! `picket demo`: the main job, without a cluster and without a container engine.
//!
//! A sample Deployment's pod and a sample policy go as a genuine AdmissionReview over TLS
//! through the real webhook; the injected pod's containers then run as local processes, an
//! attacker visits, and what the agent reports is compared with what the attacker did.

mod diff;
mod kubelet;
mod pod;
mod review;
mod run;
mod visitor;

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;

use serde_json::Value;

use crate::terminal::{self, Style};

const DEPLOYMENT: &str = include_str!("../../demo/deployment.yaml");
const POLICY: &str = include_str!("../../demo/policy.yaml");

/// What the attacker does, and the rule that has to tell.
const ATTACK: [(&str, &str); 3] = [
    ("a shell from the web process", "shell_from_network_service"),
    ("a download made executable and run", "new_binary_executed"),
    ("a read of the service-account token", "service_account_token_read"),
];
