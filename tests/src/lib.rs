//! Harness for end-to-end tests.
//!
//! Its parts need nothing but the toolchain to be built; the tests that use
//! real parts are behind features, and `make test` installs what they need.

pub mod containers;
pub mod kube;
pub mod registry;
pub mod shop;
pub mod usage;

use std::path::{Path, PathBuf};

/// A binary of the product as it is shipped: from `PICKET_BIN_DIR`, or
/// `dist/bin` of this tree.
///
/// # Panics
/// When it has not been built.
#[must_use]
pub fn product(name: &str) -> PathBuf {
    let folder = std::env::var_os("PICKET_BIN_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../dist/bin"),
        PathBuf::from,
    );
    let binary = folder.join(name);
    assert!(
        binary.is_file(),
        "{} is not there: run `make build`",
        binary.display()
    );
    binary
}

/// Where the scripts keep what is slow to make: `PICKET_CACHE`, or the user's
/// cache folder.
#[must_use]
pub fn cache() -> PathBuf {
    let variable = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    variable("PICKET_CACHE")
        .or_else(|| variable("XDG_CACHE_HOME").map(|folder| folder.join("picket")))
        .or_else(|| variable("HOME").map(|folder| folder.join(".cache/picket")))
        .unwrap_or_else(|| PathBuf::from("/var/cache/picket"))
}
