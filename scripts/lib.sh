# Shared by the scripts in this folder; sourced, never run.
# shellcheck shell=bash
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# What is slow to make and does not belong in the tree is kept here. A build machine may have
# no home at all; tests/src/lib.rs looks in the same places.
if [ -n "${HOME:-}" ]; then
	home_cache=$HOME/.cache
else
	home_cache=/var/cache
fi
cache=${PICKET_CACHE:-${XDG_CACHE_HOME:-$home_cache}/picket}
if [ -z "${HOME:-}" ]; then
	# Go looks nowhere else.
	export GOCACHE=${GOCACHE:-$cache/go-build} GOPATH=${GOPATH:-$cache/go}
fi

# Binaries and images of the product.
dist=$root/dist

export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-never}

say() { printf '==> %s\n' "$*"; }

die() {
	printf 'error: %s\n' "$*" >&2
	exit 1
}

# need COMMAND HOW: ends with HOW to get it when COMMAND is not there.
need() { command -v "$1" >/dev/null 2>&1 || die "$1 is not installed: $2"; }

# seconds_since START: for the line that closes a step.
seconds_since() { printf '%d s' $(($(date +%s) - $1)); }
