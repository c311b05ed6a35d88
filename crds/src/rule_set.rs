//! `RuleSet`: rules of the user's, and the lists that they compare with.

#![allow(
    unreachable_pub,
    reason = "the KubeSchema derive repeats each type inside a function"
)]
#![allow(clippy::duplicated_attributes, reason = "printer columns of one type")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Rules that policies can name in `ruleSets`.
#[derive(CustomResource, Serialize, Deserialize, Clone, Debug, Default, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "picket.dev",
    version = "v1alpha1",
    kind = "RuleSet",
    plural = "rulesets",
    singular = "ruleset",
    shortname = "prs",
    category = "picket",
    derive = "PartialEq",
    status = "RuleSetStatus",
    doc = "Rules that policies can name in `ruleSets`, and the lists that they compare with. Agents fetch them from the operator and take them into use without a restart. A rule that is wrong is left out and named in the status; the others are in use. The RuleSet `default` shows the rules built into the agent; the operator writes it, and changes to it have no effect.",
    printcolumn(
        name = "Rules",
        type_ = "integer",
        json_path = ".status.rules",
        description = "Rules in use"
    ),
    printcolumn(
        name = "Refused",
        type_ = "integer",
        json_path = ".status.refused",
        description = "What was left out because it is wrong"
    ),
    printcolumn(
        name = "Lists",
        type_ = "integer",
        json_path = ".status.lists",
        description = "Lists"
    ),
    printcolumn(
        name = "Accepted",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Accepted\")].status",
        description = "Whether agents get it"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Accepted\")].reason",
        description = "Why, or why not"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[x_kube(
    validation = Rule::new("(has(self.policies) && self.policies.size() > 0) || (has(self.lists) && self.lists.size() > 0) || has(self.configMap)").message("a rule set needs `policies`, `lists` or `configMap`")
)]
pub struct RuleSetSpec {
    /// Policies in SECL, in the order in which they are loaded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub policies: Vec<NamedText>,

    /// Lists that macros of the policies take in by `list: NAME`. Their names end in `.ips`,
    /// `.domains`, `.hashes` or `.names`; those of one name add up.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(validation = Rule::new("self.all(list, list.name.matches('\\\\.(ips|domains|hashes|names)$'))").message("the name of a list ends in .ips, .domains, .hashes or .names"))]
    pub lists: Vec<NamedText>,

    /// Name of a ConfigMap in the operator's namespace with more of both: keys that end in
    /// `.policy`, `.yaml` or `.yml` are policies, those that end like lists are lists, others
    /// are left alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1, max = 253))]
    pub config_map: Option<String>,
}

/// A policy or list.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NamedText {
    /// Name, as findings and errors have it.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Content.
    pub text: String,
}

/// What the operator thinks of a rule set.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RuleSetStatus {
    /// The generation of the spec that the rest of the status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "i64")]
    pub observed_generation: Option<i64>,
    /// Accepted: whether agents get this rule set, and if not, why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Hash of the rules as they were compiled.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hash: String,
    /// Rules in use.
    #[serde(default)]
    pub rules: i64,
    /// Rules, macros, list entries and files that were left out because they are wrong.
    #[serde(default)]
    pub refused: i64,
    /// Lists.
    #[serde(default)]
    pub lists: i64,
    /// What is wrong, the first 50.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<RuleError>,
}

/// Something that is wrong in a rule set.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RuleError {
    /// Name of the policy or list.
    pub source: String,
    /// Id of the rule or macro; absent where it is about the file.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub rule: String,
    /// Line in the policy or list, from 1; absent where it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "i64")]
    pub line: Option<i64>,
    /// Column in that line, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "i64")]
    pub column: Option<i64>,
    /// What is wrong.
    pub message: String,
}
