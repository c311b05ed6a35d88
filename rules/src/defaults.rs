//! The default rules, built in.

use crate::lists::ListSource;
use crate::report::PolicySource;

macro_rules! policies {
    ($($name:literal),+ $(,)?) => {
        &[$((
            concat!($name, ".policy"),
            include_str!(concat!("../../charts/picket/rules/", $name, ".policy")),
        )),+]
    };
}

macro_rules! lists {
    ($($name:literal),+ $(,)?) => {
        &[$((
            $name,
            include_str!(concat!("../../charts/picket/rules/lists/", $name)),
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
        "threat-lists",
    ]
}

/// The default lists: name and text. They hold what is widely known and changes slowly;
/// everything else is for the user to bring.
pub fn list_files() -> &'static [(&'static str, &'static str)] {
    lists![
        "abused.domains",
        "cryptocurrency.domains",
        "mining-pools.domains",
        "suspicious.domains",
    ]
}

/// The default lists, ready to be loaded.
pub fn lists() -> Vec<ListSource> {
    let source = |(name, text): &(&str, &str)| ListSource {
        name: (*name).to_owned(),
        text: (*text).to_owned(),
        origin: "built-in".to_owned(),
    };
    list_files().iter().map(source).collect()
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

/// The default policy whose macros and variables others may use: loaded wherever own rules are.
pub fn shared() -> PolicySource {
    let mut sources = sources();
    sources.swap_remove(0)
}
