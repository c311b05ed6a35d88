//! `picket rules`: thin over the rules library.

use picket_agent::rulefiles::{self, RuleFiles};
use picket_events::Interest;

use crate::arguments::{self, Format};

/// Carries out a `rules` command; false when something was found wrong.
///
/// # Errors
/// When standard output cannot be written.
pub(crate) fn rules(command: &arguments::Rules) -> anyhow::Result<bool> {
    match command {
        arguments::Rules::Check { files, format } => check(files, *format),
    }
}

/// What the built-in rules can use at all.
pub(crate) fn default_interest() -> Interest {
    RuleFiles::default().load().rules.interest()
}

fn check(files: &[std::path::PathBuf], format: Format) -> anyhow::Result<bool> {
    let loaded = RuleFiles {
        defaults: false,
        paths: files.to_vec(),
    }
    .load();
    match format {
        Format::Json => println!("{}", serde_json::to_string_pretty(&loaded.report)?),
        Format::Text => {
            for policy in &loaded.report.policies {
                for rule in policy.rules.iter().filter(|rule| rule.error.is_none()) {
                    println!("ok    {}: {}", policy.name, rule.id);
                }
            }
            for complaint in rulefiles::complaints(&loaded) {
                println!("error {complaint}");
            }
        }
    }
    Ok(loaded.report.is_ok())
}
