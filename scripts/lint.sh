#!/usr/bin/env bash
# Formatting, clippy without a warning, licences and bans.
source "$(dirname "$0")/lib.sh"

need cargo "install Rust with rustup (rust-toolchain.toml says which)"
cd "$root"
say "checking the formatting"
cargo fmt --all --check
say "running clippy over the workspace"
cargo clippy --locked --workspace --all-targets --all-features -- -D warnings
exec scripts/deny.sh
