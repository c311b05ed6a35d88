#!/usr/bin/env bash
# Runs the test suites of other software traced by both engines and untraced;
# what they say must be the same. Arguments go to the test program.
source "$(dirname "$0")/lib.sh"

# Debian's Python, whatever else calls itself python3 here, and the tests of its version.
"$root/scripts/packages.sh" python3 stress-ng
version=$(/usr/bin/python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
"$root/scripts/packages.sh" "libpython$version-testsuite"
cd "$root"
started=$(date +%s)
say "running CPython's and stress-ng's tests under both engines and without"
cargo test --locked -p picket-tracer --features test-tools --test suites -- --test-threads 1 --nocapture "$@"
say "ran them in $(seconds_since "$started")"
