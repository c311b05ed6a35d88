//! A mock of the one thing that an API server asks of kubelet for `kubectl exec`: it takes note of
//! the command that arrives and runs nothing, so kubectl fails. Real commands in real containers
//! are for [`crate::containers`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::json;

use super::ControlPlane;
use super::served::{Answer, Served, serve};

/// A command as it arrived at kubelet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// `namespace/pod/container`.
    pub target: String,
    /// Program and arguments.
    pub command: Vec<String>,
    /// The other options, such as `tty`.
    pub options: BTreeMap<String, String>,
}

/// A node whose kubelet only listens. It is removed from the cluster with the control plane.
pub struct ExecEndpoint {
    /// Its node's name: pods need it as `spec.nodeName`.
    pub node: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl ExecEndpoint {
    /// Starts it, with a node of its own.
    ///
    /// # Panics
    /// When the port or the node cannot be had.
    #[must_use]
    pub fn start(control_plane: &ControlPlane) -> Self {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&asked);
        // API servers do not verify kubelets unless they are told to.
        let Served { port, .. } = serve(move |request| {
            let mut noted = noted.lock().unwrap_or_else(PoisonError::into_inner);
            noted.extend(parse(&request.target));
            Answer {
                status: "403 Forbidden",
                body: "nothing runs here".to_owned(),
            }
        });
        let node = node(control_plane, port);
        Self { node, asked }
    }

    /// What was asked so far about a pod, the first first.
    #[must_use]
    pub fn asked_about(&self, namespace: &str, pod: &str) -> Vec<Asked> {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let start = format!("{namespace}/{pod}/");
        let about = asked.iter().filter(|one| one.target.starts_with(&start));
        about.cloned().collect()
    }
}

/// Makes a node whose kubelet listens on this port; gives its name.
pub(super) fn node(control_plane: &ControlPlane, port: u16) -> String {
    let node = format!("node-{port}");
    control_plane.kubectl().apply(
        &json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": node},
            "status": {
                "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
                "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
            },
        }),
        false,
    );
    node
}

/// From the path and query of a request: `/exec/namespace/pod/container?command=…`.
fn parse(target: &str) -> Option<Asked> {
    let (path, query) = target.split_once('?')?;
    let mut asked = Asked {
        target: path.strip_prefix("/exec/")?.to_owned(),
        command: Vec::new(),
        options: BTreeMap::new(),
    };
    for pair in query.split('&') {
        let (key, value) = pair.split_once('=')?;
        match key {
            "command" => asked.command.push(decoded(value)),
            _ => drop(asked.options.insert(key.to_owned(), decoded(value))),
        }
    }
    Some(asked)
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [rest.next(), rest.next()].map(|digit| {
                    let digit = digit.map(char::from)?.to_digit(16)?;
                    u8::try_from(digit).ok()
                });
                match digits {
                    [Some(high), Some(low)] => high << 4 | low,
                    _ => b'%',
                }
            }
            other => other,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
