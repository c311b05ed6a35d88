#!/usr/bin/env bash
# Runs the test suites of other software traced by both engines and untraced;
# what they say must be the same. Arguments go to the test program.
source "$(dirname "$0")/lib.sh"

"$root/scripts/packages.sh" python3 libpython3-testsuite stress-ng
cd "$root"
started=$(date +%s)
say "running CPython's and stress-ng's tests under both engines and without"
cargo test --locked -p picket-tracer --features test-tools --test suites -- --nocapture "$@"
say "ran them in $(seconds_since "$started")"
