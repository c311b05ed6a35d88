//! The containers that are added to a task.

use picket_crds::{AGENT_CONTAINER, MOUNT_PATH, ProtectionPolicySpec, SETUP_CONTAINER, VOLUME};
use serde_json::{Value, json};

use super::EcsError;
use crate::reason::Reason;
use crate::settings::Settings;

/// What the agent is promised, in MiB; less, down to the floor, where the task has less left.
const MEMORY: u64 = 64;
const MEMORY_FLOOR: u64 = 32;

/// What is left for the agent of the task's memory, in MiB.
pub(super) fn memory(task: &Value) -> Result<u64, EcsError> {
    let number = |value: &Value| {
        value
            .as_u64()
            .or_else(|| value.as_str().and_then(|text| text.trim().parse().ok()))
    };
    let Some(whole) = number(&task["memory"]) else {
        return Ok(MEMORY);
    };
    let containers = task["containerDefinitions"]
        .as_array()
        .into_iter()
        .flatten();
    let reserved: u64 = containers
        .map(|container| {
            number(&container["memoryReservation"])
                .or_else(|| number(&container["memory"]))
                .unwrap_or(0)
        })
        .sum();
    // The setup container reserves as much, because ECS adds up all containers of a task.
    let room = whole.saturating_sub(reserved) / 2;
    if room < MEMORY_FLOOR {
        return Err(EcsError {
            path: "memory".to_owned(),
            message: format!(
                "{}: the containers reserve {reserved} of {whole} MiB; tracer and agent need {}",
                Reason::FargateTooLarge,
                2 * MEMORY_FLOOR
            ),
        });
    }
    Ok(room.min(MEMORY))
}

/// A container of ours. The volume belongs to root, and so do they; they hold no capability.
pub(super) fn container(name: &str, image: &str, memory: u64, command: &[&str]) -> Value {
    json!({
        "name": name,
        "image": image,
        "essential": false,
        "cpu": 0,
        "memoryReservation": memory,
        "entryPoint": command,
        "command": [],
        "user": "0",
        "readonlyRootFilesystem": true,
        "linuxParameters": {"capabilities": {"drop": ["ALL"]}},
        "mountPoints": [{"sourceVolume": VOLUME, "containerPath": MOUNT_PATH, "readOnly": false}],
    })
}

pub(super) fn setup(settings: &Settings, memory: u64) -> Value {
    let command = ["/picket-tracer", "setup", "--dir", MOUNT_PATH];
    container(SETUP_CONTAINER, &settings.sidecar_image, memory, &command)
}

pub(super) fn agent(
    settings: &Settings,
    spec: &ProtectionPolicySpec,
    family: &str,
    memory: u64,
) -> Value {
    let command = ["/picket-agent", "run"];
    let mut agent = container(AGENT_CONTAINER, &settings.sidecar_image, memory, &command);
    agent["dependsOn"] = json!([{"containerName": SETUP_CONTAINER, "condition": "SUCCESS"}]);
    agent["healthCheck"] = json!({"command": ["CMD", "/picket-agent", "health"]});
    agent["environment"] = json!([
        {"name": "PICKET_WORKLOAD", "value": format!("TaskDefinition/{family}")},
        {"name": "PICKET_MODE", "value": format!("{:?}", spec.mode)},
        {"name": "PICKET_REVISION", "value": settings.revision},
    ]);
    agent
}
