//! The checked-in definitions are those of the code.

use std::path::Path;

#[test]
fn checked_in_definitions_are_current() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("yaml");
    let manifests = picket_crds::manifests();
    if std::env::var_os("UPDATE_CRDS").is_some() {
        std::fs::create_dir_all(&folder).unwrap();
        for (name, text) in &manifests {
            std::fs::write(folder.join(name), text).unwrap();
        }
    }
    for (name, text) in &manifests {
        let checked_in = std::fs::read_to_string(folder.join(name)).unwrap_or_default();
        assert!(
            checked_in == *text,
            "crds/yaml/{name} is stale; refresh it with `cargo run -p picket-cli -- crds --write crds/yaml` or `UPDATE_CRDS=1 cargo test -p picket-crds`"
        );
    }
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    let names: Vec<_> = manifests
        .iter()
        .map(|(name, _)| (*name).to_owned())
        .collect();
    assert_eq!(
        files, names,
        "crds/yaml holds a file that no type stands behind"
    );
}
