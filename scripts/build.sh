#!/usr/bin/env bash
# Builds the product's static binaries into dist/bin.
#
# Static, because the tracer and the agent run FROM scratch and inside other
# people's containers. musl where its standard library can be had, else glibc
# linked statically. This script alone decides which.
source "$(dirname "$0")/lib.sh"

need cargo "install Rust with rustup (rust-toolchain.toml says which)"
cd "$root"

architecture=$(uname -m)
target=$architecture-unknown-linux-musl
if [ ! -d "$(rustc --print sysroot)/lib/rustlib/$target" ]; then
	say "adding the Rust target $target"
	rustup target add "$target" >/dev/null 2>&1 || {
		target=$architecture-unknown-linux-gnu
		say "it is not to be had; linking glibc statically instead"
	}
fi

case $target in
*-musl)
	# ring and mimalloc have some C in them. It is built with musl's headers where those can be had, so
	# that whatever installs them later (the tests do) does not have it all built anew; the machine's
	# own will do.
	if ! command -v musl-gcc >/dev/null 2>&1; then
		{ [ "$(id -u)" = 0 ] && command -v dpkg-query >/dev/null 2>&1 && "$root/scripts/packages.sh" musl-tools; } ||
			export "CC_${target//-/_}=${CC:-cc}"
	fi
	;;
*) export RUSTFLAGS="${RUSTFLAGS:-} -C target-feature=+crt-static" ;;
esac

started=$(date +%s)
say "building the tracer (profile tracer, $target)"
cargo build --locked --profile tracer --target "$target" -p picket-tracer --bins
say "building the agent, the operator and the command line (profile release, $target)"
cargo build --locked --release --target "$target" -p picket-agent -p picket-operator -p picket-cli --bins

built=${CARGO_TARGET_DIR:-target}/$target
mkdir -p "$dist/bin"
install -m 0755 "$built/tracer/picket-tracer" "$dist/bin/"
install -m 0755 "$built/release/picket-agent" "$built/release/picket-operator" "$built/release/picket" "$built/release/picket-demo-shop" "$dist/bin/"

for binary in "$dist"/bin/*; do
	# A dynamic loader would be missing in an image made from scratch.
	if head -c 8192 "$binary" | grep -q -a 'ld-linux\|ld-musl'; then
		die "$binary is not static"
	fi
	printf '    %-18s %6d KiB\n' "$(basename "$binary")" $(($(stat -c %s "$binary") / 1024))
done
say "built dist/bin in $(seconds_since "$started")"
