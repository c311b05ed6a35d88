#!/usr/bin/env bash
# Fuzzes each target (or those named) for FUZZ_SECONDS, one minute unless set.
#
# CRATE/fuzz/corpus is what every run starts from. What is found on the way stays in
# CRATE/fuzz/found, outside of the tree, for the next run; with FUZZ_MINIMISE=1 the corpora become
# the inputs of both that cover something of their own.
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

# What an input may cost: over ten seconds, or 2 GiB, it counts as a crash. The slowest that were
# met are kept on the way from two seconds on. (Sanitizers make everything ten times as slow.)
limits=(-timeout=10 -rss_limit_mb=2048 -report_slow_units=2)

# fuzz CRATE TARGET
fuzz() {
	cd "$root/$1"
	local target=$2 policy
	local found=fuzz/found/$target corpus=fuzz/corpus/$target words=fuzz/words.dict
	mkdir -p "$found" "$corpus"
	# Our own rules are good examples of policies.
	if [ "$target" = policy ]; then
		while read -r policy; do
			cp "$policy" "$found/$(basename "$policy")"
		done < <(find "$root/charts/picket/rules" "$root/rules/tests/corpus" -name '*.policy')
	fi
	if [ -n "${FUZZ_MINIMISE:-}" ]; then
		say "keeping of $target what covers something of its own"
		local all=fuzz/all/$target
		mkdir -p "$(dirname "$all")"
		mv "$corpus" "$all"
		mkdir "$corpus"
		cargo +nightly fuzz run "$target" "$corpus" "$all" "$found" -- "${limits[@]}" \
			-set_cover_merge=1 -max_len="${FUZZ_MAX_LEN:-4096}" -verbosity=0
		rm -r "$all"
		return
	fi
	say "fuzzing $target of $1 for $seconds s"
	[ ! -f "$words" ] || limits+=("-dict=$words")
	cargo +nightly fuzz run "$target" "$found" "$corpus" -- "${limits[@]}" \
		-max_total_time="$seconds" -print_final_stats=1 -verbosity=0
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
