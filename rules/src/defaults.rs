//! The default rules, built in.

use crate::report::PolicySource;

macro_rules! policies {
    ($($name:literal),+ $(,)?) => {
        &[$((
            concat!($name, ".policy"),
            include_str!(concat!("../../charts/picket/rules/", $name, ".policy")),
        )),+]
    };
}

/// The default policies: name and YAML text.
pub fn policies() -> &'static [(&'static str, &'static str)] {
    policies![
        "common",
        "execution",
        "credential-access",
        "privilege-escalation",
        "defense-evasion",
        "persistence",
    ]
}

/// The default policies, ready to be loaded.
pub fn sources() -> Vec<PolicySource> {
    let source = |(name, text): &(&str, &str)| PolicySource {
        name: (*name).to_owned(),
        text: (*text).to_owned(),
        origin: "built-in".to_owned(),
    };
    policies().iter().map(source).collect()
}
