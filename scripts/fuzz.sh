#!/usr/bin/env bash
# Fuzzes each target (or those named) for FUZZ_SECONDS, one minute unless set.
# What was found on the way stays in CRATE/fuzz/corpus for the next run.
source "$(dirname "$0")/lib.sh"

seconds=${FUZZ_SECONDS:-60}
version=0.13.2
tool=$cache/cargo-fuzz-$version

need c++ "install a C++ compiler (libFuzzer is built from source)"
rustup run nightly rustc --version >/dev/null 2>&1 ||
	die "a nightly Rust compiler is needed for its sanitizers: rustup toolchain install nightly --profile minimal"
if [ ! -x "$tool/bin/cargo-fuzz" ]; then
	say "building cargo-fuzz $version (half a minute, once)"
	CARGO_TARGET_DIR="$cache/cargo-fuzz-target" \
		cargo install --quiet --locked --root "$tool" --version "$version" cargo-fuzz
	rm -rf "$cache/cargo-fuzz-target"
fi
PATH=$tool/bin:$PATH

# Examples to start from, where the tree has any.
seeds() {
	case $1 in
	policy) find "$root/charts/picket/rules" -name '*.policy' ;;
	relay_body) find "$root/operator/fuzz/seeds/$1" -type f ;;
	admission_review | registry_answer) find "$root/webhook/fuzz/seeds/$1" -type f ;;
	esac
}

# fuzz CRATE TARGET
fuzz() {
	cd "$root/$1"
	local corpus=fuzz/corpus/$2 number=0 seed
	mkdir -p "$corpus"
	while read -r seed; do
		number=$((number + 1))
		cp "$seed" "$corpus/seed-$number"
	done < <(seeds "$2")
	say "fuzzing $2 of $1 for $seconds s"
	cargo +nightly fuzz run "$2" -- -max_total_time="$seconds" -print_final_stats=1 -verbosity=0
}

cd "$root"
wanted=" $* "
for folder in */fuzz; do
	crate=$(dirname "$folder")
	while read -r target; do
		if [ $# = 0 ] || [[ $wanted == *" $target "* ]]; then
			(fuzz "$crate" "$target")
		fi
	done < <(cd "$root/$crate" && cargo +nightly fuzz list)
done
