//! Each default rule against a real program under the real tracer, and honest programs that
//! come close to it.

mod credentials;
mod evasion;
mod execution;
mod persistence;
mod privilege;
mod shells;
mod threat_lists;
mod world;

use std::collections::BTreeSet;

use world::{Case, check};

/// Rules without a script, and why.
const WITHOUT_SCRIPT: &[(&str, &str)] = &[
    (
        "picket_random_name_unknown",
        "silent; what it remembers is tested by picket_generated_domains",
    ),
    (
        "picket_network_service_listens",
        "silent; what it remembers is tested by picket_shell_from_network_service",
    ),
    (
        "picket_network_service_binds",
        "silent; what it remembers is tested by picket_shell_from_network_service",
    ),
    (
        "picket_socket_on_stdio",
        "silent; what it remembers is tested by picket_reverse_shell",
    ),
    (
        "picket_network_client_connects",
        "silent; what it remembers is tested by picket_shell_fed_by_client",
    ),
    (
        "picket_stdin_replaced",
        "silent; what it remembers is tested by picket_shell_fed_by_client",
    ),
    (
        "picket_stdout_replaced",
        "silent; what it remembers is tested by picket_shell_fed_by_client",
    ),
    (
        "picket_shell_fed_by_pipes",
        "silent; what it remembers is tested by picket_shell_feeder_connects",
    ),
    (
        "picket_fed_shell_ends",
        "silent; what it forgets is tested by a near-miss of picket_shell_feeder_connects",
    ),
    (
        "picket_pipe_on_stdin",
        "silent; what it forgets is tested by a near-miss of picket_reverse_shell",
    ),
];

const GROUPS: [&[Case]; 7] = [
    shells::CASES,
    execution::CASES,
    credentials::CASES,
    privilege::CASES,
    evasion::CASES,
    persistence::CASES,
    threat_lists::CASES,
];

#[test]
fn shells() {
    check(shells::CASES);
}

#[test]
fn execution() {
    check(execution::CASES);
}

#[test]
fn credential_access() {
    check(credentials::CASES);
}

#[test]
fn privilege_escalation() {
    check(privilege::CASES);
}

#[test]
fn defense_evasion() {
    check(evasion::CASES);
}

#[test]
fn persistence() {
    check(persistence::CASES);
}

#[test]
fn threat_lists() {
    check(threat_lists::CASES);
}

#[test]
fn every_rule_has_a_script_or_a_reason() {
    let rules = world::default_rules();
    let shown: BTreeSet<_> = GROUPS
        .iter()
        .flat_map(|cases| cases.iter())
        .flat_map(|case| case.reports.iter().map(|rule| (*rule).to_owned()))
        .collect();
    let excused: BTreeSet<_> = WITHOUT_SCRIPT
        .iter()
        .map(|(rule, _)| (*rule).to_owned())
        .collect();
    let listed: BTreeSet<_> = shown.union(&excused).cloned().collect();
    assert_eq!(
        listed, rules,
        "scripts and reasons, and the rules there are"
    );
    let both: Vec<_> = shown.intersection(&excused).collect();
    assert!(
        both.is_empty(),
        "{both:?} have a script and a reason for none"
    );
}
