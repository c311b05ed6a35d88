//! Labels, annotations and reserved names.

/// Keys of labels.
pub mod labels {
    /// On a pod: `"false"` asks not to be protected; a policy's `optOut` says what that is
    /// worth.
    pub const PROTECT: &str = "picket.dev/protect";
    /// On a pod: leaves it alone even where the policy forbids opting out; the value says why.
    /// Counts only where the installation says who may set it.
    pub const BREAK_GLASS: &str = "picket.dev/break-glass";
    /// On a namespace, set by the platform: `"true"` sends its pods through the webhook entry
    /// that refuses when it cannot answer.
    pub const ENFORCE: &str = "picket.dev/enforce";
    /// On a pod in quarantine: its uid, which a NetworkPolicy for exactly that pod selects.
    pub const QUARANTINED: &str = "picket.dev/quarantined";
    /// On a pod, set by AWS' own webhook: the Fargate profile that will run it.
    pub const FARGATE_PROFILE: &str = "eks.amazonaws.com/fargate-profile";
}

/// Keys of annotations.
pub mod annotations {
    /// On an injected pod: what was decided and what is needed to undo it, as JSON.
    pub const STATUS: &str = "picket.dev/status";
    /// On a pod that the kubelet mirrors from a file: cannot be changed.
    pub const MIRROR: &str = "kubernetes.io/config.mirror";
    /// On a pod on Fargate, set by AWS: what was provisioned, for example `0.25vCPU 0.5GB`.
    pub const CAPACITY_PROVISIONED: &str = "CapacityProvisioned";
    /// On a pod, set by whoever wants that: `"true"` cuts it off from the network and from its
    /// Services, and keeps it for a look.
    pub const QUARANTINE: &str = "picket.dev/quarantine";
    /// On a pod in quarantine: the labels that it had, as JSON, for the way back.
    pub const QUARANTINED_LABELS: &str = "picket.dev/quarantined-labels";
    /// On a Deployment or StatefulSet that was restarted for its policy: what for, when, and how
    /// that went, as JSON.
    pub const ROLLOUT: &str = "picket.dev/rollout";
    /// On a pod that the control plane creates for trial, as a dry run: the key of the policy that
    /// is tried, or [`TRIAL_BARE`]. Means nothing on a pod that is stored.
    pub const TRIAL: &str = "picket.dev/trial";
    /// Value of [`TRIAL`]: the pod is wanted back as it is.
    pub const TRIAL_BARE: &str = "none";
    /// On a pod that comes back from a trial: what the webhook decided, as JSON (`reason`,
    /// `message`). Without it the webhook was not reached.
    pub const TRIAL_OUTCOME: &str = "picket.dev/trial-outcome";
    /// Prefix of everything that Picket writes on a pod.
    pub const PREFIX: &str = "picket.dev/";
}

/// The init container that copies the tracer into the shared volume.
pub const SETUP_CONTAINER: &str = "picket-setup";
/// The sidecar that evaluates rules.
pub const AGENT_CONTAINER: &str = "picket-agent";
/// The variable of the agent that holds the public keys by which it knows who opened a session:
/// base64, commas between them. They tell the operator what the pod trusts.
pub const SESSION_KEYS_VARIABLE: &str = "PICKET_SESSION_KEYS";
/// The shared volume.
pub const VOLUME: &str = "picket";
/// The volume with the token that the agent shows to the relay; mounted in the agent only.
pub const TOKEN_VOLUME: &str = "picket-token";
/// Where it is mounted.
pub const TOKEN_PATH: &str = "/var/run/secrets/picket.dev";
/// The token's file there.
pub const TOKEN_FILE: &str = "token";
/// Where the shared volume is mounted in every container that has it.
pub const MOUNT_PATH: &str = "/picket";
