#!/usr/bin/env bash
# Runs every test of the workspace, those with real parts included. What they
# need is there already: `make test` sees to it.
source "$(dirname "$0")/lib.sh"
source "$root/scripts/containers.sh"

KUBEBUILDER_ASSETS=$("$root/scripts/kube.sh" | tail -1)
export KUBEBUILDER_ASSETS
PICKET_TEST_TOOLS=$("$root/scripts/delve.sh" | tail -1)
export PICKET_TEST_TOOLS
export PICKET_BIN_DIR=${PICKET_BIN_DIR:-$dist/bin}
for binary in picket picket-agent picket-operator picket-tracer; do
	[ -x "$PICKET_BIN_DIR/$binary" ] || die "$PICKET_BIN_DIR/$binary is not there: run make build"
done
for image in picket-sidecar picket-test-app; do
	podman image exists "localhost/$image:dev" || die "the image localhost/$image:dev is not there: run make images test-images"
done

cd "$root"
output=$(mktemp)
beside=$(mktemp)
# What the API servers of the tests write down of the rights that were used.
PICKET_AUDIT=$(mktemp -d)
export PICKET_AUDIT
control_plane=
trap '[ -z "$control_plane" ] || kill -- "-$control_plane" 2>/dev/null; rm -rf "$output" "$beside" "$PICKET_AUDIT"' EXIT
started=$(date +%s)
tests=(cargo test --locked --workspace --all-features --no-fail-fast)
status=0
if [ $# = 0 ]; then
	say "building every test of the workspace"
	"${tests[@]}" --no-run
	# Whoever tests at a control plane waits for it most of the time, so that others can run beside.
	say "running every test of the workspace, those at a control plane beside the others"
	set -m # Else what runs in the background would ignore interrupts.
	"${tests[@]}" --test 'control_plane_*' >"$beside" 2>&1 </dev/null &
	control_plane=$!
	set +m
	runner=CARGO_TARGET_$(rustc -vV | sed -n 's/^host: //p' | tr 'a-z-' 'A-Z_')_RUNNER
	env "$runner=$root/scripts/all-but-control-plane.sh" "${tests[@]}" 2>&1 | tee "$output" || status=$?
	say "waiting for the tests at a control plane"
	wait "$control_plane" || status=$?
	control_plane=
	tee -a "$output" <"$beside"
else
	say "running tests of the workspace"
	"${tests[@]}" "$@" 2>&1 | tee "$output" || status=$?
fi

# Cargo ends with a line for each test binary; this is their sum.
sum() { awk -v word="$1" '/^test result:/ { for (i = 2; i <= NF; i++) if ($i ~ "^" word) n += $(i - 1) } END { print n + 0 }' "$output"; }
passed=$(sum passed)
failed=$(sum failed)
ignored=$(sum ignored)
say "ran the tests in $(seconds_since "$started")"
printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$ignored"
[ "$passed" -gt 0 ] || die "no test ran"
# Only whoever ran everything can say that a right was used by nothing.
if [ $# = 0 ] && [ "$status" = 0 ]; then
	say "comparing the rights that the chart gives with those that the tests used"
	"${CARGO_TARGET_DIR:-target}/debug/examples/rights_used" "$PICKET_AUDIT" || status=$?
fi
exit "$status"
