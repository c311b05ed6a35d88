//! What stands below the long help of a command.

/// Below that of `picket` itself.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    it does not work, or a rule, test or diagnosis says so
  2    status --check: something should be seen and is not
  64   the command line is not understood
  run  the command's own; 125 when it was not started";

pub(crate) const RUN: &str = "\
Examples:
  picket run -- ./server --port 8080
  picket run --verbose -- sh -c 'cat /etc/shadow'
  picket run --rules my.policy --mode Enforce -- ./server
  picket run --json --output findings.jsonl -- make";

pub(crate) const INJECT: &str = "\
Examples:
  picket inject -f deployment.yaml --policy policy.yaml | kubectl apply -f -
  helm template my-chart | picket inject -f - --resolve registry";

pub(crate) const DIFF: &str = "\
Examples:
  picket diff -f deployment.yaml --policy policy.yaml";

pub(crate) const UNINJECT: &str = "\
Examples:
  picket uninject -f injected.yaml";

pub(crate) const EXPLAIN: &str = "\
Examples:
  picket explain -f deployment.yaml --policy policy.yaml
  kubectl get pod web-0 -o yaml | picket explain -f - --format json";

pub(crate) const CRDS: &str = "\
Examples:
  picket crds | kubectl diff -f -
  picket crds --write crds/
  picket crds apply --dry-run";

pub(crate) const RULES: &str = "\
Examples:
  picket rules check my.policy
  picket rules test my.test.yaml --rules my.policy
  picket rules explain picket_shell_from_web_server
  picket rules fields exec";

pub(crate) const EVAL: &str = "\
Examples:
  echo '{\"expr\": \"open.file.path =~ \\\"/etc/*\\\"\", \"event\": {\"type\": \"open\", \"open.file.path\": \"/etc/x\"}}' | picket rules eval";

pub(crate) const SAMPLES: &str = "\
Examples:
  picket samples
  kubectl exec web-0 -c picket-agent -- /picket-agent samples";

pub(crate) const STATUS: &str = "\
Examples:
  picket status -n shop
  picket status --unhealthy --check
  picket status --watch --output json";

pub(crate) const FINDINGS: &str = "\
Examples:
  picket findings --severity high
  picket findings -w -o json -n shop";

pub(crate) const QUARANTINE: &str = "\
Examples:
  picket quarantine web-7d4b9-x2x8k -n shop
  picket unquarantine web-7d4b9-x2x8k -n shop";

pub(crate) const DOCTOR: &str = "\
Examples:
  picket doctor
  picket doctor --cluster --try-in shop
  picket doctor --cluster --format json";

#[cfg(test)]
mod tests {
    use clap::{Command, CommandFactory};

    use crate::arguments::Arguments;

    /// Each call of `picket` below the help of a command or of those below it.
    fn examples(command: &Command, found: &mut Vec<String>) {
        let text = command.get_after_long_help().map(ToString::to_string);
        for line in text.unwrap_or_default().lines() {
            let calls = line.trim().split(" | ");
            found.extend(
                calls
                    .filter(|call| call.starts_with("picket "))
                    .map(str::to_owned),
            );
        }
        for below in command.get_subcommands() {
            examples(below, found);
        }
    }

    #[test]
    fn every_example_is_a_command_line_that_is_taken() {
        let mut found = Vec::new();
        examples(&Arguments::command(), &mut found);
        assert!(found.len() > 25, "{found:?}");
        for example in found {
            let taken = Arguments::command().try_get_matches_from(example.split(' '));
            assert!(taken.is_ok(), "{example}: {}", taken.unwrap_err());
        }
    }

    #[test]
    fn every_command_that_takes_a_file_or_asks_a_cluster_has_examples() {
        let command = Arguments::command();
        for below in command.get_subcommands() {
            let name = below.get_name();
            let is_plain = ["completion", "demo", "probe", "help"].contains(&name);
            let has = below.get_after_long_help().is_some() || below.has_subcommands();
            assert!(has || is_plain, "picket {name}");
        }
    }
}
