//! Task definitions of ECS on Fargate: the same parts as in a pod, in Amazon's words.
//!
//! * The volume `picket`, and the container `picket-setup` that copies the tracer into it and
//!   ends; whatever is traced waits for that.
//! * The container `picket-agent`, which is not essential: the task outlives it.
//! * In every container: `entryPoint` is the tracer, `command` what ran before.
//!
//! What is needed to undo it is a label of each container: how many words of its command were
//! its entry point. ECS expands nothing in commands, so words move as they are.

mod ours;
mod wrap;

use std::fmt;

use picket_crds::{ProtectionPolicySpec, VOLUME};
use serde::Serialize;
use serde_json::{Value, json};

use crate::reason::Reason;
use crate::settings::Settings;

use ours::{agent, memory, setup};
use wrap::{strip, trace};

/// A text that is no task definition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct EcsError {
    /// Where.
    pub path: String,
    /// What is wrong there.
    pub message: String,
}

/// What became of one container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EcsContainer {
    /// Its name.
    pub name: String,
    /// Why it is not traced, if it is not.
    pub skipped: Option<Reason>,
}

/// A task definition with what was decided about it.
#[derive(Debug, Clone, PartialEq)]
pub struct EcsInjected {
    /// The task definition, as JSON.
    pub text: String,
    /// Every container that it brought.
    pub containers: Vec<EcsContainer>,
}

impl fmt::Display for EcsInjected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for container in &self.containers {
            match container.skipped {
                None => writeln!(f, "container {}: traced", container.name)?,
                Some(reason) => writeln!(
                    f,
                    "container {}: not traced, {reason}: {}",
                    container.name,
                    in_words(reason)
                )?,
            }
        }
        Ok(())
    }
}

/// What a reason means in a task definition, where `command` is what pods call `args`.
fn in_words(reason: Reason) -> &'static str {
    match reason {
        Reason::EntrypointUnresolved => {
            "it has no `entryPoint`, and what its image runs is not known; give it an `entryPoint` or \
             the policy an entrypoint override"
        }
        reason => reason.text(),
    }
}

/// Injects a task definition, as one registers it or as `describe-task-definition` gives it.
/// Doing it twice equals doing it once. Containers and what images run are chosen by `spec`.
///
/// # Errors
/// [`EcsError`] for a text that is no task definition, and when the task's memory has no room
/// for the agent.
pub fn inject_task_definition(
    text: &str,
    settings: &Settings,
    spec: &ProtectionPolicySpec,
) -> Result<EcsInjected, EcsError> {
    let mut document = read(text)?;
    let task = task_of(&mut document)?;
    strip(task);
    let memory = memory(task)?;
    let mut containers = Vec::new();
    for container in list(task, "containerDefinitions") {
        let name = container["name"].as_str().unwrap_or_default().to_owned();
        let skipped = trace(container, &name, settings, spec).err();
        containers.push(EcsContainer { name, skipped });
    }
    let family = task["family"].as_str().unwrap_or_default().to_owned();
    let own = [
        setup(settings, memory),
        agent(settings, spec, &family, memory),
    ];
    list(task, "containerDefinitions").extend(own);
    list(task, "volumes").push(json!({"name": VOLUME}));
    Ok(EcsInjected {
        text: written(&document),
        containers,
    })
}

/// The task definition without anything of ours.
///
/// # Errors
/// As [`inject_task_definition`].
pub fn uninject_task_definition(text: &str) -> Result<String, EcsError> {
    let mut document = read(text)?;
    strip(task_of(&mut document)?);
    Ok(written(&document))
}

fn read(text: &str) -> Result<Value, EcsError> {
    serde_json::from_str(text).map_err(|error| EcsError {
        path: "the task definition".to_owned(),
        message: error.to_string(),
    })
}

fn written(document: &Value) -> String {
    // Plain data that was read from text can be written to text.
    let mut text = serde_json::to_string_pretty(document).unwrap_or_default();
    text.push('\n');
    text
}

/// The task definition, with everything that is relied on checked.
fn task_of(document: &mut Value) -> Result<&mut Value, EcsError> {
    let fault = |path: String, message: &str| EcsError {
        path,
        message: message.to_owned(),
    };
    let (prefix, task) = if document["taskDefinition"].is_object() {
        ("taskDefinition.", &mut document["taskDefinition"])
    } else {
        ("", document)
    };
    let path = format!("{prefix}containerDefinitions");
    let Some(containers) = task["containerDefinitions"].as_array() else {
        return Err(fault(path, "expected a list of containers"));
    };
    for (index, container) in containers.iter().enumerate() {
        let path = format!("{path}[{index}]");
        if container["name"].as_str().is_none_or(str::is_empty) {
            return Err(fault(format!("{path}.name"), "expected a name"));
        }
        for field in ["entryPoint", "command"] {
            let words = &container[field];
            let are_words = words
                .as_array()
                .is_some_and(|words| words.iter().all(Value::is_string));
            if !words.is_null() && !are_words {
                return Err(fault(
                    format!("{path}.{field}"),
                    "expected a list of strings",
                ));
            }
        }
        for field in ["mountPoints", "dependsOn"] {
            if !container[field].is_null() && !container[field].is_array() {
                return Err(fault(format!("{path}.{field}"), "expected a list"));
            }
        }
    }
    if !task["volumes"].is_null() && !task["volumes"].is_array() {
        return Err(fault(format!("{prefix}volumes"), "expected a list"));
    }
    Ok(task)
}

/// A list of a task definition that was checked to be one; made where it is missing.
fn list<'t>(parent: &'t mut Value, field: &str) -> &'t mut Vec<Value> {
    let list = &mut parent[field];
    if !list.is_array() {
        *list = json!([]);
    }
    match list {
        Value::Array(items) => items,
        _ => unreachable!("made a list above"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use picket_crds::EntrypointOverride;

    fn task() -> Value {
        json!({
            "family": "shop",
            "requiresCompatibilities": ["FARGATE"],
            "cpu": "256",
            "memory": "512",
            "futureField": {"b": 1, "a": 2},
            "containerDefinitions": [
                {"name": "web", "image": "web:1", "entryPoint": ["/web"], "command": ["--price", "$PRICE"], "dependsOn": [{"containerName": "cache", "condition": "HEALTHY"}]},
                {"name": "cache", "image": "redis:7", "command": ["--save"], "memory": 128},
                {"name": "proxy", "image": "proxy:1"},
            ],
        })
    }

    fn spec() -> ProtectionPolicySpec {
        let mut spec = ProtectionPolicySpec::default();
        spec.entrypoint.overrides.push(EntrypointOverride {
            image: Some("redis:*".into()),
            entrypoint: vec!["docker-entrypoint.sh".into()],
            cmd: vec!["redis-server".into()],
            ..EntrypointOverride::default()
        });
        spec
    }

    fn injected(task: &Value) -> EcsInjected {
        let settings = Settings::new("registry.example/picket-sidecar:1", "1");
        inject_task_definition(&task.to_string(), &settings, &spec()).expect("a task definition")
    }

    #[test]
    fn every_container_whose_command_is_known_is_traced() {
        let result = injected(&task());
        let skipped: Vec<_> = result.containers.iter().map(|one| one.skipped).collect();
        assert_eq!(skipped, [None, None, Some(Reason::EntrypointUnresolved)]);
        let task: Value = serde_json::from_str(&result.text).expect("JSON");
        let containers = &task["containerDefinitions"];
        assert_eq!(containers[0]["entryPoint"][0], "/picket/picket-tracer");
        assert_eq!(
            containers[0]["command"],
            json!(["/web", "--price", "$PRICE"])
        );
        assert_eq!(containers[0]["dependsOn"][1]["condition"], "SUCCESS");
        assert_eq!(
            containers[1]["command"],
            json!(["docker-entrypoint.sh", "--save"])
        );
        assert_eq!(containers[2], json!({"name": "proxy", "image": "proxy:1"}));
        assert_eq!(containers[3]["name"], "picket-setup");
        assert_eq!(containers[4]["essential"], false);
        assert_eq!(task["volumes"], json!([{"name": "picket"}]));
        assert_eq!(task["futureField"].to_string(), r#"{"b":1,"a":2}"#);
    }

    #[test]
    fn twice_equals_once_and_everything_comes_back() {
        let once = injected(&task());
        let again = injected(&serde_json::from_str(&once.text).expect("JSON"));
        assert_eq!(again.text, once.text);
        let back = uninject_task_definition(&once.text).expect("a task definition");
        let back: Value = serde_json::from_str(&back).expect("JSON");
        assert_eq!(back.to_string(), task().to_string());
    }

    #[test]
    fn what_describe_prints_is_taken_too() {
        let described = json!({"taskDefinition": task(), "tags": []});
        let text = injected(&described).text;
        let back = uninject_task_definition(&text).expect("a task definition");
        let back: Value = serde_json::from_str(&back).expect("JSON");
        assert_eq!(back, described);
    }

    #[test]
    fn faults_name_their_path() {
        let settings = Settings::new("picket:1", "1");
        for (text, expected) in [
            ("{", "the task definition: EOF"),
            ("{}", "containerDefinitions: expected a list"),
            (
                r#"{"containerDefinitions": [{"name": "a", "command": "x"}]}"#,
                "containerDefinitions[0].command: expected a list of strings",
            ),
            (
                r#"{"memory": "512", "containerDefinitions": [{"name": "a", "memory": 500}]}"#,
                "memory: FargateTooLarge",
            ),
        ] {
            let error = inject_task_definition(text, &settings, &spec()).expect_err(text);
            assert!(error.to_string().starts_with(expected), "{error}");
        }
    }
}
