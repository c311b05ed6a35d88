//! What a policy file says, before anything is compiled.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::yaml::{Node, Yaml, parse};
use crate::duration;
use crate::report::LoadError;
use crate::syntax::nearest;

/// Largest policy file, in bytes.
pub(crate) const MAX_POLICY: usize = 4 * 1024 * 1024;

/// Most rules in one policy.
const MAX_RULES: usize = 10_000;

pub(super) type Result<T> = std::result::Result<T, LoadError>;

/// A policy file.
#[derive(Debug, Default)]
pub(super) struct Document {
    pub(super) version: String,
    pub(super) macros: Vec<Result<MacroDocument>>,
    pub(super) rules: Vec<Result<RuleDocument>>,
    pub(super) misspelt: Vec<Misspelt>,
}

/// A key that nothing reads, and the one that it resembles. Keys that resemble none are left
/// alone: policies may have keys of versions to come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Misspelt {
    pub(super) key: String,
    pub(super) meant: String,
}

impl fmt::Display for Misspelt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Misspelt { key, meant } = self;
        write!(f, "the key {key:?} is not read; did you mean {meant}?")
    }
}

/// Keys of a policy that something reads, here or in Datadog's agent; of its macros and rules.
const POLICY_KEYS: &[&str] = &[
    "version",
    "type",
    "replace_policy_id",
    "macros",
    "rules",
    "hooks",
];
const MACRO_KEYS: &[&str] = &[
    "id",
    "expression",
    "values",
    "list",
    "description",
    "agent_version",
    "filters",
    "combine",
];
const RULE_KEYS: &[&str] = &[
    "id",
    "version",
    "expression",
    "description",
    "tags",
    "product_tags",
    "agent_version",
    "filters",
    "disabled",
    "combine",
    "override_options",
    "actions",
    "every",
    "limiter_token",
    "silent",
    "group_id",
    "priority",
];

/// How a definition treats an earlier one with its id.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Combine {
    #[default]
    None,
    Merge,
    Override,
}

/// Conditions under which a definition counts.
#[derive(Debug, Clone, Default)]
pub(super) struct Conditions {
    pub(super) agent_version: Option<String>,
    pub(super) filters: Vec<String>,
}

/// A macro as written.
#[derive(Debug, Clone)]
pub(super) struct MacroDocument {
    pub(super) id: String,
    pub(super) expression: Option<Text>,
    pub(super) values: Option<Vec<String>>,
    /// List files that are taken in.
    pub(super) lists: Vec<Text>,
    pub(super) misspelt: Vec<Misspelt>,
    pub(super) conditions: Conditions,
    pub(super) combine: Combine,
    pub(super) at: Node,
}

/// A text and its node, for places in it.
#[derive(Debug, Clone)]
pub(super) struct Text {
    pub(super) text: String,
    pub(super) node: Node,
}

/// A rule as written.
#[derive(Debug, Clone)]
pub(super) struct RuleDocument {
    pub(super) id: String,
    pub(super) version: String,
    pub(super) expression: Option<Text>,
    pub(super) description: String,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) product_tags: Vec<String>,
    pub(super) conditions: Conditions,
    pub(super) disabled: bool,
    pub(super) combine: Combine,
    pub(super) override_fields: Vec<String>,
    pub(super) actions: Vec<Node>,
    pub(super) every: Option<Duration>,
    pub(super) limiter_token: Vec<Text>,
    pub(super) silent: bool,
    pub(super) group_id: String,
    pub(super) priority: i64,
    pub(super) misspelt: Vec<Misspelt>,
    pub(super) at: Node,
}

/// Reads a policy file. An error means that nothing in it can be used.
pub(super) fn read(source: &str) -> Result<Document> {
    if source.len() > MAX_POLICY {
        let message = format!("the policy is larger than {} MiB", MAX_POLICY >> 20);
        return Err(LoadError {
            message,
            ..LoadError::default()
        });
    }
    let root = parse(source).map_err(|(message, file)| LoadError {
        message: format!("YAML: {message}"),
        file,
        ..LoadError::default()
    })?;
    if root.value == Yaml::Null {
        return Ok(Document::default());
    }
    let reader = Reader {
        node: &root,
        id: "",
    };
    reader.mapping()?;
    let rules = reader.list("rules")?;
    if rules.len() > MAX_RULES {
        return Err(reader.fault(&root, format!("more than {MAX_RULES} rules")));
    }
    Ok(Document {
        version: reader.text("version")?.unwrap_or_default(),
        macros: reader.list("macros")?.iter().map(read_macro).collect(),
        rules: rules.iter().map(read_rule).collect(),
        misspelt: reader.misspelt(POLICY_KEYS),
    })
}

fn read_macro(node: &Node) -> Result<MacroDocument> {
    let mut reader = Reader { node, id: "" };
    let id = reader.id("macro")?;
    reader.id = &id;
    let values = match node.get("values") {
        Some(_) => Some(reader.texts("values")?),
        None => None,
    };
    Ok(MacroDocument {
        expression: reader.spanned("expression")?,
        values,
        lists: reader.spanned("list")?.into_iter().collect(),
        conditions: reader.conditions()?,
        combine: reader.combine(&["merge", "override"])?,
        misspelt: reader.misspelt(MACRO_KEYS),
        at: node.clone(),
        id: id.clone(),
    })
}

fn read_rule(node: &Node) -> Result<RuleDocument> {
    let mut reader = Reader { node, id: "" };
    let id = reader.id("rule")?;
    reader.id = &id;
    let override_fields = match node.get("override_options") {
        Some(options) => Reader {
            node: options,
            id: &id,
        }
        .texts("fields")?,
        None => Vec::new(),
    };
    Ok(RuleDocument {
        version: reader.text("version")?.unwrap_or_default(),
        expression: reader.spanned("expression")?,
        description: reader.text("description")?.unwrap_or_default(),
        tags: reader.tags()?,
        product_tags: reader.texts("product_tags")?,
        conditions: reader.conditions()?,
        disabled: reader.flag("disabled")?,
        combine: reader.combine(&["override"])?,
        override_fields,
        actions: reader.list("actions")?.to_vec(),
        every: reader.duration("every")?,
        limiter_token: reader.spanned_list("limiter_token")?,
        silent: reader.flag("silent")?,
        group_id: reader.text("group_id")?.unwrap_or_default(),
        priority: reader.int("priority")?.unwrap_or_default(),
        misspelt: reader.misspelt(RULE_KEYS),
        at: node.clone(),
        id: id.clone(),
    })
}

/// Reads values out of a mapping.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) node: &'a Node,
    /// For messages.
    pub(super) id: &'a str,
}

impl<'a> Reader<'a> {
    pub(super) fn fault(&self, node: &Node, message: String) -> LoadError {
        LoadError {
            id: self.id.to_owned(),
            message,
            file: Some(node.at),
            ..LoadError::default()
        }
    }

    fn expected(&self, key: &str, expected: &str, found: &Node) -> LoadError {
        self.fault(
            found,
            format!("{key}: expected {expected}, found {}", found.describe()),
        )
    }

    pub(super) fn mapping(&self) -> Result<()> {
        match self.node.value {
            Yaml::Map(_) => Ok(()),
            _ => {
                let found = self.node.describe();
                Err(self.fault(self.node, format!("expected a mapping, found {found}")))
            }
        }
    }

    fn misspelt(&self, known: &[&str]) -> Vec<Misspelt> {
        let Yaml::Map(entries) = &self.node.value else {
            return Vec::new();
        };
        let unread = entries.iter().filter_map(|(key, _)| match &key.value {
            Yaml::Text(key) if !known.contains(&key.as_str()) => Some(key),
            _ => None,
        });
        unread
            .filter_map(|key| {
                let meant = nearest(key, known.iter().copied())?;
                let key = key.clone();
                Some(Misspelt { key, meant })
            })
            .collect()
    }

    fn id(&self, what: &str) -> Result<String> {
        self.mapping()?;
        let Some(id) = self.text("id")?.filter(|id| !id.is_empty()) else {
            return Err(self.fault(self.node, format!("a {what} needs an id")));
        };
        if !id.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            let node = self.node.get("id").unwrap_or(self.node);
            let message = format!("id {id:?}: only letters, digits and `_` can be used");
            return Err(self.fault(node, message));
        }
        Ok(id)
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<String>> {
        Ok(self.spanned(key)?.map(|text| text.text))
    }

    pub(super) fn spanned(&self, key: &str) -> Result<Option<Text>> {
        self.node
            .get(key)
            .map(|node| self.as_text(key, node))
            .transpose()
    }

    fn as_text(&self, key: &str, node: &Node) -> Result<Text> {
        match node.text() {
            Some(text) => Ok(Text {
                text,
                node: node.clone(),
            }),
            None => Err(self.expected(key, "a text", node)),
        }
    }

    pub(super) fn flag(&self, key: &str) -> Result<bool> {
        match self.node.get(key) {
            None => Ok(false),
            Some(Node {
                value: Yaml::Bool(value),
                ..
            }) => Ok(*value),
            Some(other) => Err(self.expected(key, "true or false", other)),
        }
    }

    pub(super) fn int(&self, key: &str) -> Result<Option<i64>> {
        match self.node.get(key) {
            None => Ok(None),
            Some(Node {
                value: Yaml::Int(value),
                ..
            }) => Ok(Some(*value)),
            Some(other) => Err(self.expected(key, "a whole number", other)),
        }
    }

    pub(super) fn duration(&self, key: &str) -> Result<Option<Duration>> {
        let Some(node) = self.node.get(key) else {
            return Ok(None);
        };
        let text = node.text().unwrap_or_default();
        match duration::parse(&text).and_then(|nanoseconds| u64::try_from(nanoseconds).ok()) {
            Some(nanoseconds) => Ok(Some(Duration::from_nanos(nanoseconds))),
            None => Err(self.expected(key, "a duration such as 10s or 1h30m", node)),
        }
    }

    pub(super) fn list(&self, key: &str) -> Result<&'a [Node]> {
        match self.node.get(key) {
            None => Ok(&[]),
            Some(Node {
                value: Yaml::List(list),
                ..
            }) => Ok(list),
            Some(other) => Err(self.expected(key, "a list", other)),
        }
    }

    fn spanned_list(&self, key: &str) -> Result<Vec<Text>> {
        self.list(key)?
            .iter()
            .map(|node| self.as_text(key, node))
            .collect()
    }

    fn texts(&self, key: &str) -> Result<Vec<String>> {
        Ok(self
            .spanned_list(key)?
            .into_iter()
            .map(|text| text.text)
            .collect())
    }

    fn tags(&self) -> Result<BTreeMap<String, String>> {
        let Some(node) = self.node.get("tags") else {
            return Ok(BTreeMap::new());
        };
        let Yaml::Map(entries) = &node.value else {
            return Err(self.expected("tags", "a mapping", node));
        };
        let mut tags = BTreeMap::new();
        for (key, value) in entries {
            let key = self.as_text("tags", key)?.text;
            let value = match &value.value {
                Yaml::Null => String::new(),
                _ => self.as_text(&key, value)?.text,
            };
            tags.insert(key, value);
        }
        Ok(tags)
    }

    fn conditions(&self) -> Result<Conditions> {
        Ok(Conditions {
            agent_version: self
                .text("agent_version")?
                .filter(|text| !text.trim().is_empty()),
            filters: self.texts("filters")?,
        })
    }

    fn combine(&self, allowed: &[&str]) -> Result<Combine> {
        let Some(Text { text, node }) = self.spanned("combine")? else {
            return Ok(Combine::None);
        };
        match text.as_str() {
            "" => Ok(Combine::None),
            "merge" if allowed.contains(&"merge") => Ok(Combine::Merge),
            "override" => Ok(Combine::Override),
            other => Err(self.fault(
                &node,
                format!("combine: {other:?} is not one of {}", allowed.join(", ")),
            )),
        }
    }
}
