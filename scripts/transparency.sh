#!/usr/bin/env bash
# Runs the test suites of other software traced by both engines and untraced;
# what they say must be the same, but for what docs/tracer.md has under "Suites of
# other software". SUITE=cpython|stress-ng|software runs one part, FROM=NAME begins
# with that module or stressor. Arguments go to the test program.
source "$(dirname "$0")/lib.sh"

suite=${SUITE:-}
from=${FROM:-}
case $suite in
"" | cpython | stress-ng | software) ;;
*) die "SUITE=$suite: there are cpython, stress-ng and software" ;;
esac
[ -z "$from" ] || [ "$suite" = cpython ] || [ "$suite" = stress-ng ] ||
	die "FROM=$from names a module of SUITE=cpython or a stressor of SUITE=stress-ng"
export FROM=$from

# Debian's Python, whatever else calls itself python3 here, and the tests of its version.
"$root/scripts/packages.sh" python3 stress-ng
version=$(/usr/bin/python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
"$root/scripts/packages.sh" "libpython$version-testsuite"
cd "$root"

# part NAME TEST-PROGRAM WORD...: runs it unless another part was asked for.
failed=()
part() {
	local name=$1 program=$2
	shift 2
	[ -z "$suite" ] || [ "$suite" = "$name" ] || return 0
	local started
	started=$(date +%s)
	say "$name: under both engines and without"
	cargo test --locked -p picket-tracer --features test-tools --test "$program" -- --test-threads 1 --nocapture "$@" ||
		failed+=("$name")
	say "$name: ran in $(seconds_since "$started")"
}

part cpython suites cpythons_own "$@"
part stress-ng suites stress_ngs "$@"
# Busybox' and coreutils' tools, Go, a JVM, debuggers, job control: also among the tests of `make test`.
if [ -z "$suite" ] || [ "$suite" = software ]; then
	"$root/scripts/packages.sh" busybox-static gdb strace tini dumb-init default-jdk-headless linux-perf
	PICKET_TEST_TOOLS=$("$root/scripts/delve.sh" | tail -1)
	export PICKET_TEST_TOOLS
fi
part software software "$@"
[ ${#failed[@]} -eq 0 ] || die "different from untraced: ${failed[*]} (the names are above)"
say "nothing is different but what docs/tracer.md names"
