//! The default rules, built in.

/// The default policies: name and YAML text.
pub fn policies() -> &'static [(&'static str, &'static str)] {
    &[]
}
