#!/usr/bin/env bash
# Builds the product's static binaries for aarch64 on x86-64 into dist/bin-arm64.
# Rust brings its own standard library and linker; ring has some C in it that
# needs a compiler and a few headers, but nothing of a C library.
source "$(dirname "$0")/lib.sh"
source "$root/scripts/aarch64.sh"

cd "$root"
aarch64_is_there || die "rustup cannot fetch the standard library of $aarch64_target: rustup target add $aarch64_target"
if [ -z "${CC_aarch64_unknown_linux_musl:-}" ]; then
	# Headers that freestanding code includes (stdint.h) come from the C library's package.
	[ -e /usr/aarch64-linux-gnu/include/stdint.h ] || scripts/packages.sh gcc-aarch64-linux-gnu libc6-dev-arm64-cross
	export CC_aarch64_unknown_linux_musl=aarch64-linux-gnu-gcc
fi

started=$(date +%s)
say "building the tracer for aarch64"
cargo build --locked --profile tracer --target "$aarch64_target" -p picket-tracer --bins
say "building the agent, the operator and the command line for aarch64"
cargo build --locked --release --target "$aarch64_target" -p picket-agent -p picket-operator -p picket-cli --bins

built=${CARGO_TARGET_DIR:-target}/$aarch64_target
mkdir -p "$dist/bin-arm64"
install -m 0755 "$built/tracer/picket-tracer" "$built/release/picket-agent" "$built/release/picket-operator" \
	"$built/release/picket" "$dist/bin-arm64/"
say "built dist/bin-arm64 in $(seconds_since "$started")"
