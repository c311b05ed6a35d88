//! The default rules, held against the tests that stand beside them.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use picket_events::finding::Severity;
use picket_rules::tools::testing;
use picket_rules::{Catalogue, ListSource, LoadOptions, PolicySource, RuleSet, defaults};

fn rules() -> Arc<RuleSet> {
    let mut lists = defaults::lists();
    for entry in std::fs::read_dir(folder().join("tests/lists")).unwrap() {
        let entry = entry.unwrap();
        lists.push(ListSource {
            name: entry.file_name().into_string().unwrap(),
            text: std::fs::read_to_string(entry.path()).unwrap(),
            origin: "tests".to_owned(),
        });
    }
    load(LoadOptions {
        lists,
        ..LoadOptions::default()
    })
}

fn load(options: LoadOptions) -> Arc<RuleSet> {
    let catalogue = Catalogue::standard();
    let (rules, report) = RuleSet::load(&catalogue, &defaults::sources(), &options);
    let errors: Vec<String> = report
        .errors()
        .map(|(policy, error)| format!("{policy}: {error}"))
        .collect();
    assert!(errors.is_empty(), "{}", errors.join("\n"));
    Arc::new(rules)
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../charts/picket/rules")
}

#[test]
fn every_default_rule_passes_its_tests_and_has_some() {
    let rules = rules();
    let mut covered = BTreeSet::new();
    let mut failures = Vec::new();
    let files = std::fs::read_dir(folder().join("tests")).unwrap();
    let files = files.map(|entry| entry.unwrap().path());
    for file in files.filter(|file| file.is_file()) {
        let text = std::fs::read_to_string(file).unwrap();
        for outcome in testing::run(&rules, &text).unwrap() {
            let name = outcome.name;
            failures.extend(
                outcome
                    .failures
                    .iter()
                    .map(|failure| format!("{name}: {failure}")),
            );
            covered.extend(outcome.covered);
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    let untested: Vec<&str> = rules
        .rules()
        .iter()
        .map(|rule| rule.id.as_str())
        .filter(|id| !covered.contains(*id))
        .collect();
    assert!(
        untested.is_empty(),
        "no test makes these match: {untested:?}"
    );
}

fn names_in(folder: PathBuf) -> BTreeSet<String> {
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().unwrap().is_file())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect()
}

#[test]
fn every_policy_file_and_every_list_is_built_in() {
    let names = |files: &[(&str, &str)]| -> BTreeSet<String> {
        files.iter().map(|(name, _)| (*name).to_owned()).collect()
    };
    assert_eq!(names_in(folder()), names(defaults::policies()));
    assert_eq!(
        names_in(folder().join("lists")),
        names(defaults::list_files())
    );
}

/// The types of GuardDuty's Runtime Monitoring, without `:Runtime/` in their middle.
const GUARDDUTY: [(&str, &[&str]); 11] = [
    ("CryptoCurrency", &["BitcoinTool.B", "BitcoinTool.B!DNS"]),
    ("Backdoor", &["C&CActivity.B", "C&CActivity.B!DNS"]),
    (
        "UnauthorizedAccess",
        &["TorRelay", "TorClient", "MetadataDNSRebind"],
    ),
    (
        "Trojan",
        &[
            "BlackholeTraffic",
            "DropPoint",
            "BlackholeTraffic!DNS",
            "DropPoint!DNS",
            "DGADomainRequest.C!DNS",
            "DriveBySourceTraffic!DNS",
            "PhishingDomainRequest!DNS",
        ],
    ),
    (
        "Impact",
        &[
            "AbusedDomainRequest.Reputation",
            "BitcoinDomainRequest.Reputation",
            "MaliciousDomainRequest.Reputation",
            "SuspiciousDomainRequest.Reputation",
            "CryptoMinerExecuted",
        ],
    ),
    (
        "Execution",
        &[
            "NewBinaryExecuted",
            "NewLibraryLoaded",
            "ReverseShell",
            "SuspiciousTool",
            "SuspiciousCommand",
            "MaliciousFileExecuted",
            "SuspiciousShellCreated",
        ],
    ),
    (
        "PrivilegeEscalation",
        &[
            "DockerSocketAccessed",
            "RuncContainerEscape",
            "CGroupsReleaseAgentModified",
            "ContainerMountsHostDirectory",
            "UserfaultfdUsage",
            "ElevationToRoot",
            "SuspiciousCommand",
            "SensitiveFileModified",
        ],
    ),
    (
        "DefenseEvasion",
        &[
            "ProcessInjection.Proc",
            "ProcessInjection.Ptrace",
            "ProcessInjection.VirtualMemoryWrite",
            "FilelessExecution",
            "PtraceAntiDebugging",
            "SuspiciousCommand",
            "KernelModuleLoaded",
            "SensitiveFileModified",
        ],
    ),
    ("Discovery", &["SuspiciousCommand"]),
    (
        "Persistence",
        &["SuspiciousCommand", "SensitiveFileModified"],
    ),
    // Ours, beside GuardDuty's.
    (
        "CredentialAccess",
        &[
            "ServiceAccountTokenRead",
            "CredentialFileRead",
            "MetadataServiceAccess",
        ],
    ),
];

#[test]
fn the_default_rules_give_every_finding_type_there_is() {
    let given: BTreeSet<String> = rules()
        .rules()
        .iter()
        .filter(|rule| !rule.silent)
        .map(|rule| rule.meaning().finding_type)
        .collect();
    let expected: BTreeSet<String> = GUARDDUTY
        .iter()
        .flat_map(|(area, types)| {
            types
                .iter()
                .map(move |name| format!("{area}:Runtime/{name}"))
        })
        .collect();
    assert_eq!(given, expected);
}

#[test]
fn a_rule_whose_list_is_empty_says_so_and_costs_nothing() {
    let catalogue = Catalogue::standard();
    let source = PolicySource {
        name: "own".to_owned(),
        text: "macros: [{id: OWN, list: own.names}]\n\
               rules: [{id: own, expression: 'unlink.file.name in OWN'}]\n"
            .to_owned(),
        origin: String::new(),
    };
    let (rules, report) = RuleSet::load(
        &catalogue,
        std::slice::from_ref(&source),
        &LoadOptions::default(),
    );
    assert!(report.is_ok());
    assert_eq!(
        report.policies[0].rules[0].warnings,
        ["it waits for a list that is empty: own.names"]
    );
    assert_eq!(rules.interest().to_string(), "exec,fork,exit");
    let lists = vec![ListSource {
        name: "own.names".to_owned(),
        text: "x\n".to_owned(),
        origin: String::new(),
    }];
    let options = LoadOptions {
        lists,
        ..LoadOptions::default()
    };
    let (rules, report) = RuleSet::load(&catalogue, &[source], &options);
    assert!(report.policies[0].rules[0].warnings.is_empty());
    assert_eq!(rules.interest().to_string(), "exec,fork,exit,unlink");
}

#[test]
fn every_reporting_rule_says_what_it_means() {
    for rule in rules().rules().iter().filter(|rule| !rule.silent) {
        let meaning = rule.meaning();
        assert!(meaning.finding_type.contains(":Runtime/"), "{}", rule.id);
        assert!(meaning.technique.starts_with('T'), "{}", rule.id);
        assert!(
            Severity::from_name(&rule.tags["severity"]).is_some(),
            "{}",
            rule.id
        );
        for text in [&meaning.title, &meaning.remediation, &rule.description] {
            assert!(text.len() > 10, "{}", rule.id);
        }
    }
}

#[test]
fn the_default_rules_need_no_opens_but_plain_ones() {
    let interest = rules().interest().to_string();
    assert!(interest.ends_with("open:plain"), "{interest}");
    assert!(
        !interest.contains("mmap") && !interest.contains("splice"),
        "{interest}"
    );
}
