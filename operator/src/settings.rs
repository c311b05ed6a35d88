//! What the operator tells the planner, from the command line, the cluster and
//! the rules.

use k8s_openapi::apimachinery::pkg::version::Info;
use picket_rules::catalogue::Catalogue;
use picket_rules::ruleset::{LoadOptions, RuleSet};
use picket_webhook::Settings;

use crate::arguments::Arguments;

/// The minor version of Kubernetes 1 in which native sidecars are on by
/// default.
const NATIVE_SIDECARS_SINCE: u32 = 29;

/// The planner's settings for a cluster of this version.
#[must_use]
pub fn settings(arguments: &Arguments, cluster: &Info) -> Settings {
    Settings {
        image_pull_secrets: arguments.image_pull_secret.clone(),
        interest: default_interest(),
        quarantine: arguments.quarantine,
        native_sidecars: has_native_sidecars(cluster),
        own_namespace: arguments.namespace.clone(),
        // Checked at start.
        canaries: arguments.canaries().unwrap_or_default(),
        break_glass: arguments.break_glass,
        ..Settings::new(&arguments.sidecar_image, &arguments.revision)
    }
}

/// What the rules built into the agent have to see; the tracer pays for
/// nothing else.
fn default_interest() -> String {
    let sources = picket_rules::defaults::sources();
    let (rules, _) = RuleSet::load(&Catalogue::standard(), &sources, &LoadOptions::default());
    rules.interest().to_string()
}

/// Whether a cluster of this version runs native sidecars.
#[must_use]
pub fn has_native_sidecars(version: &Info) -> bool {
    // Some providers write "33+".
    let number = |text: &str| {
        let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<u32>().unwrap_or(0)
    };
    (number(&version.major), number(&version.minor)) >= (1, NATIVE_SIDECARS_SINCE)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn version(major: &str, minor: &str) -> Info {
        Info {
            major: major.to_owned(),
            minor: minor.to_owned(),
            ..Info::default()
        }
    }

    #[test]
    fn native_sidecars_by_version() {
        let cases = [
            ("1", "28", false),
            ("1", "29", true),
            ("1", "33+", true),
            ("2", "0", true),
            ("", "", false),
        ];
        for (major, minor, expected) in cases {
            let native = has_native_sidecars(&version(major, minor));
            assert_eq!(native, expected, "{major}.{minor}");
        }
    }

    #[test]
    fn the_command_line_reaches_the_planner() {
        let arguments = Arguments::parse_from([
            "picket-operator",
            "--identity=a",
            "--namespace=security",
            "--sidecar-image=registry.example/sidecar:1",
            "--image-pull-secret=pull",
            "--revision=7",
            "--break-glass=true",
            r#"--canaries=[{"revision":"8","image":"registry.example/sidecar:8","namespaces":["staging"]}]"#,
        ]);
        let settings = settings(&arguments, &version("1", "36"));
        assert_eq!(settings.own_namespace, "security");
        assert_eq!(settings.sidecar_image, "registry.example/sidecar:1");
        assert_eq!(settings.image_pull_secrets, ["pull"]);
        assert_eq!(settings.revision, "7");
        assert_eq!(settings.canaries[0].revision, "8");
        assert!(settings.break_glass);
        assert!(settings.native_sidecars && settings.enabled);
        let words: Vec<&str> = settings.interest.split(',').collect();
        assert!(words.contains(&"exec"), "{words:?}");
        assert!(words.contains(&"connect"), "{words:?}");
    }
}
