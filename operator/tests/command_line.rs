//! The process, as far as it gets without a cluster.

use std::process::{Command, Output};

use clap::CommandFactory;
use picket_operator::arguments::Arguments;

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_picket-operator"))
        .args(arguments)
        .env_clear()
        .env("HOME", "/nonexistent")
        .output()
        .expect("the binary starts")
}

#[test]
fn a_bad_value_ends_the_process_with_the_flag_and_the_remedy() {
    let image = "--sidecar-image=registry.example/picket:1";
    let cases: [(&[&str], &str, &str); 5] = [
        (&[], "--sidecar-image", "Usage"),
        (
            &["--sidecar-image=a b"],
            "--sidecar-image: `a b`",
            "give it as",
        ),
        (
            &[image, "--webhook-port=10250"],
            "--webhook-port: 10250",
            "choose another",
        ),
        (&[image, "--webhook-port=99999"], "99999", "--webhook-port"),
        (&[image, "--log=a=b=c"], "--log", "not a filter"),
    ];
    for (arguments, problem, remedy) in cases {
        let output = run(arguments);
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{arguments:?}");
        assert!(message.contains(problem), "{arguments:?}: {message}");
        assert!(message.contains(remedy), "{arguments:?}: {message}");
    }
}

#[test]
fn without_a_cluster_it_says_what_it_needs() {
    let output = run(&["--sidecar-image=a:1", "--webhook-port=0", "--health-port=0"]);
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(message.contains("set KUBECONFIG"), "{message}");
}

/// Defaults that the table says in words.
const IN_WORDS: [(&str, &str); 3] = [
    ("identity", "`$HOSTNAME`"),
    ("revision", "the operator's version"),
    ("listen-address", "all, IPv6 and IPv4"),
];

#[test]
fn every_flag_is_in_the_documentation_with_its_variable_and_default() {
    let text = include_str!("../../docs/operations.md");
    let section = text.split("\n## Flags\n").nth(1).expect("a section");
    let section = section.split("\n## ").next().expect("its text");
    let rows = section.lines().filter(|line| line.starts_with("| `--"));
    let told: Vec<[&str; 3]> = rows
        .map(|row| {
            let cells: Vec<&str> = row.split(" | ").map(str::trim).collect();
            assert!(cells.len() >= 4 && cells[3].len() > 5, "{row}");
            [cells[0].trim_start_matches("| "), cells[1], cells[2]]
        })
        .collect();
    let command = Arguments::command();
    let flags: Vec<[String; 3]> = command
        .get_arguments()
        .filter(|flag| !["help", "version"].contains(&flag.get_id().as_str()))
        .map(|flag| {
            let name = flag.get_long().expect("a long name");
            let variable = flag.get_env().expect("a variable").to_string_lossy();
            let default = flag.get_default_values().first();
            let default = default.map(|value| value.to_string_lossy().into_owned());
            let in_words = IN_WORDS.iter().find(|(flag, _)| *flag == name);
            let default = match (in_words, default) {
                (Some((_, words)), _) => (*words).to_owned(),
                (None, Some(value)) if value.parse::<u64>().is_ok() => value,
                (None, Some(value)) => format!("`{value}`"),
                (None, None) if flag.is_required_set() => "required".to_owned(),
                (None, None) => "–".to_owned(),
            };
            [format!("`--{name}`"), format!("`{variable}`"), default]
        })
        .collect();
    for flag in &flags {
        let found = told.iter().any(|row| row == flag);
        assert!(found, "docs/operations.md has no row as {flag:?}");
    }
    assert_eq!(told.len(), flags.len(), "a row for what is no flag");
}
