#!/usr/bin/env bash
# Checks licences, bans and sources of everything we depend on (deny.toml).
# Advisories are left to a machine that can reach their database:
# cargo deny check advisories.
source "$(dirname "$0")/lib.sh"

version=0.20.2
tool=$cache/cargo-deny-$version

if [ ! -x "$tool/bin/cargo-deny" ]; then
	need cargo "install Rust with rustup (rust-toolchain.toml says which)"
	started=$(date +%s)
	say "building cargo-deny $version (over a minute, once)"
	# Unoptimised: it runs for a second, and optimising it takes a minute more.
	CARGO_PROFILE_DEV_DEBUG=0 CARGO_TARGET_DIR="$cache/cargo-deny-target" \
		cargo install --quiet --locked --debug --root "$tool" --version "$version" cargo-deny
	rm -rf "$cache/cargo-deny-target"
	say "built it in $(seconds_since "$started")"
fi

cd "$root"
say "checking licences, bans and sources of the dependencies"
"$tool/bin/cargo-deny" deny --color never --locked check --hide-inclusion-graph bans licenses sources
