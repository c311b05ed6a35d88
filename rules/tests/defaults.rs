//! The default rules, held against the tests that stand beside them.

use std::collections::{BTreeMap, BTreeSet};
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
fn every_default_rule_passes_its_tests_and_has_some_of_either_kind() {
    let rules = rules();
    let (mut covered, mut spared) = (BTreeSet::new(), BTreeSet::new());
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
            spared.extend(outcome.spared);
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    let missing = |tested: &BTreeSet<String>| -> Vec<String> {
        let ids = rules.rules().iter().map(|rule| rule.id.clone());
        ids.filter(|id| !tested.contains(id)).collect()
    };
    // No honest program in a container loads a module.
    spared.insert("picket_kernel_module_loaded".to_owned());
    let (never, always) = (missing(&covered), missing(&spared));
    assert!(never.is_empty(), "no test makes these match: {never:?}");
    assert!(
        always.is_empty(),
        "no test has an honest event that these could match: {always:?}"
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
            "CredentialFileLinked",
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

/// The lists without which there are rules that cannot match, by what those find.
const FROM_LISTS: [(&str, &[&str]); 17] = [
    (
        "Backdoor:Runtime/C&CActivity.B",
        &["command-and-control.ips"],
    ),
    (
        "Backdoor:Runtime/C&CActivity.B!DNS",
        &["command-and-control.domains"],
    ),
    (
        "CryptoCurrency:Runtime/BitcoinTool.B",
        &["mining-pools.ips"],
    ),
    (
        "CryptoCurrency:Runtime/BitcoinTool.B!DNS",
        &["mining-pools.domains"],
    ),
    (
        "Execution:Runtime/MaliciousFileExecuted",
        &["malware.hashes"],
    ),
    (
        "Impact:Runtime/AbusedDomainRequest.Reputation",
        &["abused.domains"],
    ),
    (
        "Impact:Runtime/BitcoinDomainRequest.Reputation",
        &["cryptocurrency.domains"],
    ),
    (
        "Impact:Runtime/MaliciousDomainRequest.Reputation",
        &["malicious.domains"],
    ),
    (
        "Impact:Runtime/SuspiciousDomainRequest.Reputation",
        &["suspicious.domains"],
    ),
    ("Trojan:Runtime/BlackholeTraffic", &["blackholes.ips"]),
    (
        "Trojan:Runtime/BlackholeTraffic!DNS",
        &["blackholes.domains"],
    ),
    (
        "Trojan:Runtime/DriveBySourceTraffic!DNS",
        &["drive-by.domains"],
    ),
    ("Trojan:Runtime/DropPoint", &["drop-points.ips"]),
    ("Trojan:Runtime/DropPoint!DNS", &["drop-points.domains"]),
    (
        "Trojan:Runtime/PhishingDomainRequest!DNS",
        &["phishing.domains"],
    ),
    ("UnauthorizedAccess:Runtime/TorClient", &["tor-guards.ips"]),
    ("UnauthorizedAccess:Runtime/TorRelay", &["tor-relays.ips"]),
];

#[test]
fn without_any_list_these_rules_wait_for_one_and_no_other_does() {
    let options = LoadOptions::default();
    let catalogue = Catalogue::standard();
    let (rules, report) = RuleSet::load(&catalogue, &defaults::sources(), &options);
    let mut waiting: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in report.policies.iter().flat_map(|policy| &policy.rules) {
        for warning in &row.warnings {
            let Some(lists) = warning.strip_prefix("it waits for a list that is empty: ") else {
                continue;
            };
            let rule = rules.rules().iter().find(|rule| rule.id == row.id).unwrap();
            let lists = lists.split(", ").map(str::to_owned);
            let finding_type = rule.meaning().finding_type;
            waiting.entry(finding_type).or_default().extend(lists);
        }
    }
    let expected: BTreeMap<String, BTreeSet<String>> = FROM_LISTS
        .iter()
        .map(|(name, lists)| {
            let lists = lists.iter().map(|list| (*list).to_owned());
            ((*name).to_owned(), lists.collect())
        })
        .collect();
    assert_eq!(waiting, expected);
}

#[test]
fn the_rule_on_sessions_reports_each_once_and_only_where_it_is_switched_on() {
    let own = PolicySource {
        name: "own".to_owned(),
        text: "rules: [{id: picket_interactive_session, disabled: false}]".to_owned(),
        origin: String::new(),
    };
    let mut sources = defaults::sources();
    sources.push(own);
    let options = LoadOptions::default();
    let (switched_on, report) = RuleSet::load(&Catalogue::standard(), &sources, &options);
    assert!(report.is_ok(), "{report:?}");
    let id = "picket_interactive_session";
    assert!(!rules().rules().iter().any(|rule| rule.id == id));
    let steps = "
tests:
  - name: sessions
    processes:
      - {pid: 1, comm: sleep}
      - {pid: 2, comm: bash, tty_name: pts0, user_session.k8s_username: alice, user_session.id: a}
      - {pid: 3, comm: bash, tty_name: pts1, user_session.k8s_username: bob, user_session.id: b}
      - {pid: 4, comm: sh, user_session.k8s_username: carol, user_session.id: c}
      - {pid: 5, comm: sh, tty_name: pts0}
    steps:
      - {pid: 2, event: {type: exec, exec.file.path: /bin/bash}, reports: [picket_interactive_session]}
      - {pid: 2, event: {type: exec, exec.file.path: /bin/date}}
      - {pid: 3, event: {type: exec, exec.file.path: /bin/bash}, reports: [picket_interactive_session]}
      - {pid: 4, event: {type: exec, exec.file.path: /bin/date}}
      - {pid: 5, event: {type: exec, exec.file.path: /bin/date}}
      - {pid: 1, event: {type: exec, exec.file.path: /bin/date}}
";
    for outcome in testing::run(&Arc::new(switched_on), steps).unwrap() {
        assert!(outcome.passed(), "{:?}", outcome.failures);
    }
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
