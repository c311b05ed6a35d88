#!/usr/bin/env bash
# Prints, as its last line, the path of Helm for the tests; builds it first from
# the version pinned in tests/helmtools if the cache lacks it. With PICKET_HELM
# set, that program is used as it is.
source "$(dirname "$0")/lib.sh"

if [ -n "${PICKET_HELM:-}" ]; then
	[ -x "$PICKET_HELM" ] || die "PICKET_HELM=$PICKET_HELM is not a program. Correct it, or unset the variable to have Helm built"
	printf '%s\n' "$PICKET_HELM"
	exit 0
fi

folder=$cache/helm
mkdir -p "$folder"
exec 9>"$cache/helm.lock"
flock 9

key=$(cd "$root" && cat tests/helmtools/go.{mod,sum} scripts/helm.sh | sha256sum | cut -d' ' -f1)
if [ "$(cat "$folder/key" 2>/dev/null)" != "$key" ] || [ ! -x "$folder/helm" ]; then
	need go "install Go 1.26 or newer, or set PICKET_HELM to a Helm 4"
	export GOTOOLCHAIN=local GOFLAGS="-mod=readonly -buildvcs=false -trimpath" CGO_ENABLED=0
	started=$(date +%s)
	rm -f "$folder/key"
	version=$(awk '$1 == "helm.sh/helm/v4" {print $2}' "$root/tests/helmtools/go.mod")
	say "building Helm $version (about two minutes on two cores, once)" >&2
	cd "$root/tests/helmtools"
	go build -ldflags "-s -w" -o "$folder/helm.new" helm.sh/helm/v4/cmd/helm >&2
	mv -f "$folder/helm.new" "$folder/helm"
	printf '%s\n' "$key" >"$folder/key"
	say "built it in $(seconds_since "$started")" >&2
fi
printf '%s\n' "$folder/helm"
