#!/usr/bin/env bash
# Measures what tracing costs with the tracer that is shipped: bench.sh [WORKLOAD]... [FLAG]...
source "$(dirname "$0")/lib.sh"

tracer=$dist/bin/picket-tracer
[ -x "$tracer" ] || die "$tracer is not there: run make build"
"$root/scripts/packages.sh" gcc make python3 strace nginx-light wrk redis-server redis-tools \
	postgresql default-jre-headless
cd "$root"
cargo build --locked --release -p picket-bench
"${CARGO_TARGET_DIR:-target}/release/picket-bench" --tracer "$tracer" --json "$dist/bench.json" "$@"
say "the single figures are in dist/bench.json"
