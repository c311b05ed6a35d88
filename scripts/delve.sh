#!/usr/bin/env bash
# Prints, as its last line, the folder with delve (dlv), Go's debugger, for the
# tests; builds it first if the cache lacks it.
source "$(dirname "$0")/lib.sh"

version=v1.26.1
tool=$cache/delve-$version

if [ ! -x "$tool/dlv" ]; then
	need go "install Go 1.26 or newer"
	started=$(date +%s)
	say "building delve $version (half a minute, once)" >&2
	mkdir -p "$tool"
	GOTOOLCHAIN=local GOFLAGS=-buildvcs=false CGO_ENABLED=0 GOBIN="$tool" \
		go install "github.com/go-delve/delve/cmd/dlv@$version" >&2
	say "built it in $(seconds_since "$started")" >&2
fi
printf '%s\n' "$tool"
