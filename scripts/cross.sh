#!/usr/bin/env bash
# Checks and builds the tracer for aarch64, with Rust's own standard library and
# linker: no cross compiler is needed.
source "$(dirname "$0")/lib.sh"
source "$root/scripts/aarch64.sh"

cd "$root"
aarch64_is_there || die "rustup cannot fetch the standard library of $aarch64_target: rustup target add $aarch64_target"
say "checking the tracer for aarch64"
cargo clippy --locked -q -p picket-tracer --target "$aarch64_target" --all-targets --all-features -- -D warnings
cargo build --locked -q -p picket-tracer --target "$aarch64_target" --profile tracer --bin picket-tracer
binary=${CARGO_TARGET_DIR:-target}/$aarch64_target/tracer/picket-tracer
# The ELF header: 64 bits, little-endian, machine 183; and no loader.
[ "$(od -A n -t u1 -j 4 -N 2 "$binary" | tr -d ' ')" = 21 ] && [ "$(od -A n -t u2 -j 18 -N 2 "$binary" | tr -d ' ')" = 183 ] ||
	die "$binary is not for aarch64"
if head -c 8192 "$binary" | grep -q -a 'ld-linux\|ld-musl'; then
	die "$binary is not static"
fi
printf '    %-18s %6d KiB\n' picket-tracer $(($(stat -c %s "$binary") / 1024))
