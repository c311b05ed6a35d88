//! A set of loaded rules.

use std::collections::BTreeMap;
use std::sync::Arc;

use picket_events::Interest;
use picket_events::deny::DenyRule;

use crate::catalogue::Catalogue;
use crate::index::Index;
use crate::lists::{ListSource, ListUse};
use crate::matcher::hash_text;
use crate::policy;
use crate::report::{LoadReport, PolicySource};
use crate::rule::Rule;
use crate::value::EventId;
use crate::variable::VariableTable;

/// What loading depends on beside the policies themselves.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// The agent version that `agent_version` constraints are held against.
    pub agent_version: semver::Version,
    /// Facts that `filters` can ask for: `os`, `os.*`, `kernel.*`, `origin`, `hostname`.
    /// Numbers and booleans are written out.
    pub facts: BTreeMap<String, String>,
    /// Environment variables that `envs` filters see, as `NAME=value`.
    pub envs: Vec<String>,
    /// List files; those of one name add up.
    pub lists: Vec<ListSource>,
}

impl Default for LoadOptions {
    fn default() -> Self {
        let facts = [("os", "linux"), ("origin", "ebpfless")];
        Self {
            agent_version: semver::Version::new(7, 83, 0),
            facts: facts
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            envs: Vec::new(),
            lists: Vec::new(),
        }
    }
}

/// Rules that were loaded together.
#[derive(Debug)]
pub struct RuleSet {
    catalogue: Arc<Catalogue>,
    rules: Vec<Rule>,
    variables: Arc<VariableTable>,
    /// By event type.
    groups: Vec<Group>,
    lists: Vec<ListUse>,
    hash: String,
}

/// The rules of one event type.
#[derive(Debug, Default)]
pub(crate) struct Group {
    /// Indices into the set's rules, in the order of evaluation.
    pub(crate) rules: Vec<usize>,
    pub(crate) index: Index,
}

impl RuleSet {
    /// Loads policies. What is wrong is in the report; the rest is in the set.
    pub fn load(
        catalogue: &Arc<Catalogue>,
        sources: &[PolicySource],
        options: &LoadOptions,
    ) -> (RuleSet, LoadReport) {
        let loaded = policy::load(catalogue, sources, options);
        let mut groups: Vec<Group> = catalogue.events().map(|_| Group::default()).collect();
        for (index, rule) in loaded.rules.iter().enumerate() {
            groups[usize::from(rule.event.0)].rules.push(index);
        }
        for group in &mut groups {
            let roots = group
                .rules
                .iter()
                .map(|rule| &loaded.rules[*rule].program.root);
            group.index = Index::new(roots);
        }
        let set = RuleSet {
            catalogue: Arc::clone(catalogue),
            rules: loaded.rules,
            variables: Arc::new(loaded.variables),
            groups,
            lists: loaded.lists,
            hash: hash(sources, options),
        };
        (set, loaded.report)
    }

    /// The rules, in the order in which they are evaluated.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The catalogue the rules were compiled against.
    pub fn catalogue(&self) -> &Arc<Catalogue> {
        &self.catalogue
    }

    /// The lists that the policies take in, by name.
    pub fn lists(&self) -> &[ListUse] {
        &self.lists
    }

    /// Which events can matter to these rules at all.
    pub fn interest(&self) -> Interest {
        crate::interest::interest(&self.catalogue, &self.rules)
    }

    /// What the tracer refuses by itself, for rules with a `deny` action.
    pub fn denied(&self) -> impl Iterator<Item = &DenyRule> {
        self.rules.iter().filter_map(|rule| rule.deny.as_ref())
    }

    /// Patterns of the files that rules are about which leave out reads with flags that most
    /// reads have (`O_CLOEXEC` and others): what the tracer has to watch to see those as well.
    /// Exact paths, and ones with `*` inside their parts or `**` as the last.
    pub fn watched_files(&self) -> Vec<String> {
        crate::watching::watched(&self.catalogue, &self.rules)
    }

    /// A short text that differs when the policies or the options do.
    pub fn hash(&self) -> String {
        self.hash.clone()
    }

    /// How many rules of an event type are tried for every event, because nothing in them
    /// can be looked up.
    pub fn unindexed(&self, event: EventId) -> usize {
        self.group(event).map_or(0, |group| group.index.unindexed())
    }

    pub(crate) fn group(&self, event: EventId) -> Option<&Group> {
        self.groups.get(usize::from(event.0))
    }

    pub(crate) fn variables(&self) -> &Arc<VariableTable> {
        &self.variables
    }
}

fn hash(sources: &[PolicySource], options: &LoadOptions) -> String {
    let LoadOptions {
        agent_version,
        facts,
        envs,
        lists,
    } = options;
    let mut hash = hash_text(&format!("{agent_version} {facts:?} {envs:?}"));
    let policies = sources.iter().map(|source| (&source.name, &source.text));
    let lists = lists.iter().map(|source| (&source.name, &source.text));
    for (name, text) in policies.chain(lists) {
        for part in [name, text] {
            hash = hash.rotate_left(7) ^ hash_text(part);
            hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
        }
    }
    format!("{hash:016x}")
}
