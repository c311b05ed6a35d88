//! Labels, annotations and reserved names.

/// Keys of labels.
pub mod labels {
    /// On a pod: `"false"` asks not to be protected; a policy's `optOut` says what that is
    /// worth.
    pub const PROTECT: &str = "picket.dev/protect";
    /// On a namespace, set by the platform: `"true"` sends its pods through the webhook entry
    /// that refuses when it cannot answer.
    pub const ENFORCE: &str = "picket.dev/enforce";
    /// On a pod, set by AWS' own webhook: the Fargate profile that will run it.
    pub const FARGATE_PROFILE: &str = "eks.amazonaws.com/fargate-profile";
}

/// Keys of annotations.
pub mod annotations {
    /// On an injected pod: what was decided and what is needed to undo it, as JSON.
    pub const STATUS: &str = "picket.dev/status";
    /// On a pod that the kubelet mirrors from a file: cannot be changed.
    pub const MIRROR: &str = "kubernetes.io/config.mirror";
    /// Prefix of everything that Picket writes on a pod.
    pub const PREFIX: &str = "picket.dev/";
}

/// The init container that copies the tracer into the shared volume.
pub const SETUP_CONTAINER: &str = "picket-setup";
/// The sidecar that evaluates rules.
pub const AGENT_CONTAINER: &str = "picket-agent";
/// The shared volume.
pub const VOLUME: &str = "picket";
/// Where the shared volume is mounted in every container that has it.
pub const MOUNT_PATH: &str = "/picket";
