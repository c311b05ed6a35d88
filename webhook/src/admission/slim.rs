//! Reads an object without what the planner never looks at.
//!
//! Most of a pod is environment, probes by HTTP, what is in volumes, where it may be scheduled, and
//! the API server's notes on who manages which field. None of it says anything about injection and
//! no operation of ours touches it, so it is skipped where it stands in the text instead of being
//! built, copied and compared.

use std::fmt;

use picket_crds::{AGENT_CONTAINER, SETUP_CONTAINER, TOKEN_VOLUME, VOLUME};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// For `#[serde(deserialize_with)]`.
pub(super) fn object<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
    Part::Object.deserialize(deserializer)
}

/// A part of an object of which something may be skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Object,
    Metadata,
    Spec,
    Containers,
    Container,
    Probe,
    Volumes,
    Volume,
    /// One of which nothing is.
    Other,
}

impl Part {
    /// What is under a key; `None` when it is skipped.
    fn under(self, key: &str) -> Option<Self> {
        Some(match (self, key) {
            (Self::Object, "metadata") => Self::Metadata,
            (Self::Object, "spec") => Self::Spec,
            (Self::Object, "status") | (Self::Metadata, "managedFields") => return None,
            (Self::Spec, "containers" | "initContainers" | "ephemeralContainers") => {
                Self::Containers
            }
            (Self::Spec, "volumes") => Self::Volumes,
            (
                Self::Spec,
                "affinity"
                | "dnsConfig"
                | "hostAliases"
                | "tolerations"
                | "topologySpreadConstraints",
            ) => return None,
            (Self::Container, "startupProbe" | "livenessProbe" | "readinessProbe") => Self::Probe,
            (Self::Probe, "exec") => Self::Other,
            (Self::Probe, _) => return None,
            _ => Self::Other,
        })
    }

    fn of_entries(self) -> Self {
        match self {
            Self::Containers => Self::Container,
            Self::Volumes => Self::Volume,
            _ => Self::Other,
        }
    }

    /// Whether a field of a container or volume is skipped. Our own are compared with what they
    /// should be, so they are read as a whole.
    fn is_idle(self, field: &str) -> bool {
        match self {
            Self::Container => matches!(
                field,
                "env"
                    | "envFrom"
                    | "ports"
                    | "imagePullPolicy"
                    | "terminationMessagePath"
                    | "terminationMessagePolicy"
            ),
            Self::Volume => field != "name",
            _ => false,
        }
    }
}

fn is_ours(name: &Value) -> bool {
    [AGENT_CONTAINER, SETUP_CONTAINER, VOLUME, TOKEN_VOLUME]
        .iter()
        .any(|ours| name == ours)
}

impl<'de> DeserializeSeed<'de> for Part {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        match self {
            Self::Other => serde::Deserialize::deserialize(deserializer),
            part => deserializer.deserialize_any(part),
        }
    }
}

impl<'de> Visitor<'de> for Part {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            // API servers write names first. Who does not costs us more, and gets the same.
            let foreign = map.get("name").is_some_and(|name| !is_ours(name));
            let part = match self.under(&key) {
                _ if foreign && self.is_idle(&key) => None,
                Some(Self::Probe) if !foreign => Some(Self::Other),
                part => part,
            };
            match part {
                Some(part) => drop(map.insert(key, access.next_value_seed(part)?)),
                None => drop(access.next_value::<IgnoredAny>()?),
            }
        }
        if !map.get("name").is_some_and(is_ours) {
            map.retain(|field, _| !self.is_idle(field));
        }
        Ok(Value::Object(map))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(entry) = access.next_element_seed(self.of_entries())? {
            list.push(entry);
        }
        Ok(Value::Array(list))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn slim(value: &Value) -> Value {
        let text = value.to_string();
        object(&mut serde_json::Deserializer::from_str(&text)).expect("JSON")
    }

    #[test]
    fn what_the_planner_never_looks_at_is_left_out() {
        let probes = json!({
            "livenessProbe": {"httpGet": {"path": "/"}, "periodSeconds": 3},
            "readinessProbe": {"exec": {"command": ["ready"]}, "periodSeconds": 3},
        });
        let pod = json!({
            "kind": "Pod",
            "metadata": {"name": "web", "managedFields": [{"manager": "kubectl"}], "labels": {"env": "test"}},
            "spec": {
                "initContainers": [{"name": "picket-agent", "env": [{"name": "A"}], "livenessProbe": probes["livenessProbe"]}],
                "containers": [
                    {"name": "web", "image": "web:1", "env": [{"name": "A"}], "ports": [1], "envFrom": [], "args": ["env"],
                     "imagePullPolicy": "Always", "livenessProbe": probes["livenessProbe"], "readinessProbe": probes["readinessProbe"]},
                    {"env": [{"name": "B"}], "name": "last", "future": {"env": 1}},
                    {"env": [{"name": "C"}], "name": "picket-setup"},
                ],
                "tolerations": [{"operator": "Exists"}],
                "volumes": [{"name": "env", "configMap": {"name": "a"}}, {"name": "picket", "emptyDir": {}}, {"emptyDir": {}, "name": "last"}],
            },
            "status": {"phase": "Pending"},
        });
        let expected = json!({
            "kind": "Pod",
            "metadata": {"name": "web", "labels": {"env": "test"}},
            "spec": {
                "initContainers": [{"name": "picket-agent", "env": [{"name": "A"}], "livenessProbe": probes["livenessProbe"]}],
                "containers": [
                    {"name": "web", "image": "web:1", "args": ["env"],
                     "livenessProbe": {}, "readinessProbe": {"exec": {"command": ["ready"]}}},
                    {"name": "last", "future": {"env": 1}},
                    {"env": [{"name": "C"}], "name": "picket-setup"},
                ],
                "volumes": [{"name": "env"}, {"name": "picket", "emptyDir": {}}, {"name": "last"}],
            },
        });
        assert_eq!(slim(&pod).to_string(), expected.to_string(), "order too");
    }

    #[test]
    fn what_is_no_pod_stays_what_it_is() {
        for value in [
            json!(null),
            json!(true),
            json!(-7),
            json!(7.5),
            json!(u64::MAX),
            json!("text"),
            json!([1, {"status": 2}]),
            json!({"spec": 7, "metadata": [null], "command": ["sh"]}),
            json!({"spec": {"containers": {"env": 1}, "initContainers": [7, [1], {"name": 7}]}}),
        ] {
            assert_eq!(slim(&value), value);
        }
    }
}
