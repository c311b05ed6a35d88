//! Rules that an operator hands to agents, as both sides load them.

use picket_events::relay::RuleBundle;

use crate::catalogue::Catalogue;
use crate::defaults;
use crate::lists::ListSource;
use crate::report::{LoadReport, PolicySource};
use crate::ruleset::{LoadOptions, RuleSet};

/// Where the sources of a bundle come from, in reports.
pub const ORIGIN: &str = "relay";

/// Loads a bundle. The names that the built-in rules share, and the built-in lists, are there
/// also where the built-in rules themselves are not wanted.
pub fn load(bundle: &RuleBundle) -> (RuleSet, LoadReport) {
    let mut policies = match bundle.defaults {
        true => defaults::sources(),
        false => vec![defaults::shared()],
    };
    policies.extend(bundle.policies.iter().map(|policy| PolicySource {
        name: policy.name.clone(),
        text: policy.text.clone(),
        origin: ORIGIN.to_owned(),
    }));
    let mut lists = defaults::lists();
    lists.extend(bundle.lists.iter().map(|list| ListSource {
        name: list.name.clone(),
        text: list.text.clone(),
        origin: ORIGIN.to_owned(),
    }));
    let options = LoadOptions {
        lists,
        ..LoadOptions::default()
    };
    RuleSet::load(&Catalogue::standard(), &policies, &options)
}

#[cfg(test)]
mod tests {
    use picket_events::relay::NamedText;

    use super::*;
    use crate::report::Status;

    #[test]
    fn own_rules_stand_beside_the_built_in_ones_or_alone() {
        let mut bundle = RuleBundle {
            policies: vec![NamedText {
                name: "own/own.policy".to_owned(),
                text: "rules:\n- id: own\n  expression: exec.file.name in PICKET_SHELLS\n"
                    .to_owned(),
            }],
            ..RuleBundle::default()
        };
        let (alone, report) = load(&bundle);
        let own = report
            .policies
            .iter()
            .find(|policy| policy.origin == ORIGIN)
            .unwrap();
        assert_eq!(own.status, Status::Loaded, "{own:?}");
        bundle.defaults = true;
        let (both, _) = load(&bundle);
        assert!(both.rules().len() > alone.rules().len());
        assert!(both.interest().covers(&alone.interest()));
        assert_ne!(both.hash(), alone.hash());
    }
}
