//! Whatever registries, token services and pull secrets say, and whatever pods call an image: a
//! value or a named fault, never a crash; and what is accepted is sound.
//!
//! The first byte says which reader gets the rest.
//!
//! `cargo +nightly fuzz run registry_answer fuzz/found/registry_answer fuzz/corpus/registry_answer`

#![no_main]

use libfuzzer_sys::fuzz_target;
use picket_webhook::entrypoint::docker_config::DockerConfig;
use picket_webhook::entrypoint::document::{Manifest, choose, parse_config};
use picket_webhook::entrypoint::reference::Reference;
use picket_webhook::entrypoint::{Challenge, Platform};

fuzz_target!(|data: &[u8]| {
    let Some((kind, data)) = data.split_first() else { return };
    match kind % 5 {
        0 => {
            if let Ok(Manifest::Index(index)) = Manifest::parse(data) {
                let platform = Platform::amd64();
                match choose(&index, &platform) {
                    Ok(content) => assert!(content.digest.starts_with("sha")),
                    Err(error) => assert!(error.detail.len() < 2000),
                }
            }
        }
        1 => {
            if let Ok(config) = parse_config(data, "sha256:0") {
                assert!(config.weight() < 300 << 10);
                let words = config.entrypoint.iter().chain(&config.cmd);
                assert!(words.into_iter().all(|word| !word.contains('\0')));
            }
        }
        2 => {
            for config in [DockerConfig::parse_json(data), DockerConfig::parse_cfg(data)]
                .into_iter()
                .flatten()
            {
                for registry in ["docker.io", "r.example:5000", "a.b.example", "[::1]:5000"] {
                    let candidates = config.candidates(registry, "team/web").count();
                    assert!(candidates <= data.len());
                    let _ = config.helper(registry);
                }
            }
        }
        3 => {
            let Ok(text) = std::str::from_utf8(data) else { return };
            if let Ok(reference) = Reference::parse(text) {
                let again = Reference::parse(&reference.to_string()).expect("what was read is a reference");
                assert_eq!(again.to_string(), reference.to_string());
                let path = format!("{}{}", reference.repository(), reference.selector());
                assert!(!reference.repository().contains("..") && !path.contains(['?', '#', '%', ' ', '\n']));
            }
        }
        _ => {
            if let Ok(text) = std::str::from_utf8(data) {
                if let Some(Challenge::Bearer { realm, .. }) = Challenge::parse(text) {
                    assert!(realm.len() <= text.len());
                }
            }
        }
    }
});
