//! Helm and the chart, as a platform engineer uses them.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{ControlPlane, Output};

/// Helm, with folders and a kubeconfig of its own.
#[derive(Debug)]
pub struct Helm {
    binary: PathBuf,
    home: tempfile::TempDir,
    kubeconfig: Option<PathBuf>,
}

impl Helm {
    /// Helm without a cluster, for `lint` and `template`.
    ///
    /// # Panics
    /// When it is not there; the message says how to get it.
    #[must_use]
    pub fn offline() -> Self {
        let binary = std::env::var_os("PICKET_HELM")
            .map_or_else(|| crate::cache().join("helm/helm"), PathBuf::from);
        assert!(
            binary.is_file(),
            "{} is not there: run `make test-tools`",
            binary.display()
        );
        let home = tempfile::tempdir().expect("a temporary folder");
        Self {
            binary,
            home,
            kubeconfig: None,
        }
    }

    /// Helm as an administrator of a cluster.
    #[must_use]
    pub fn of(control_plane: &ControlPlane) -> Self {
        Self {
            kubeconfig: Some(control_plane.kubeconfig("admin")),
            ..Self::offline()
        }
    }

    /// Runs it with these arguments.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(&self.binary);
        command.args(arguments).env_remove("KUBECONFIG");
        for (variable, folder) in [
            ("HELM_CACHE_HOME", "cache"),
            ("HELM_CONFIG_HOME", "config"),
            ("HELM_DATA_HOME", "data"),
            // Without a HOME it would be kept in the working directory.
            ("KUBECACHEDIR", "discovery"),
        ] {
            command.env(variable, self.home.path().join(folder));
        }
        if let Some(kubeconfig) = &self.kubeconfig {
            command.env("KUBECONFIG", kubeconfig);
        }
        let output = command.output().expect("helm starts");
        Output {
            command: format!("helm {}", arguments.join(" ")),
            success: output.status.success(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// The folder of the chart.
#[must_use]
pub fn chart() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/picket");
    folder.to_string_lossy().into_owned()
}
