# Sourced: sets aarch64_target and makes cargo able to build for it: Rust's own
# standard library and linker, nothing from a cross compiler.
# shellcheck shell=bash

aarch64_target=aarch64-unknown-linux-musl

# Whether the target is there, fetched if need be.
aarch64_is_there() {
	rustup target list --installed 2>/dev/null | grep -qx "$aarch64_target" ||
		rustup target add "$aarch64_target" >/dev/null 2>&1
}

export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER=rust-lld
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_RUSTFLAGS="-C link-self-contained=yes"
