#!/usr/bin/env bash
# Formatting, clippy without a warning, licences and bans.
source "$(dirname "$0")/lib.sh"

need cargo "install Rust with rustup (rust-toolchain.toml says which)"
cd "$root"
say "checking the formatting"
cargo fmt --all --check
say "running clippy over the workspace"
cargo clippy --locked --workspace --all-targets --all-features -- -D warnings
source scripts/aarch64.sh
if aarch64_is_there; then
	scripts/cross.sh
else
	say "NOT checked for aarch64: rustup cannot fetch $aarch64_target here"
fi
exec scripts/deny.sh
