#!/usr/bin/env bash
# Prints, as its last line, the folder with kube-apiserver,
# kube-controller-manager, kubectl and etcd for the tests; builds them first from
# the versions pinned in tests/kubetools and tests/etcdtools if the cache lacks
# them. With KUBEBUILDER_ASSETS set, that folder is used as it is.
source "$(dirname "$0")/lib.sh"

binaries=(kube-apiserver kube-controller-manager kubectl etcd)

missing_in() {
	local binary missing=()
	for binary in "${binaries[@]}"; do
		[ -x "$1/$binary" ] || missing+=("$binary")
	done
	printf '%s' "${missing[*]}"
}

if [ -n "${KUBEBUILDER_ASSETS:-}" ]; then
	missing=$(missing_in "$KUBEBUILDER_ASSETS")
	[ -z "$missing" ] || die "KUBEBUILDER_ASSETS=$KUBEBUILDER_ASSETS lacks: $missing. Put them there, or unset the variable to have them built"
	printf '%s\n' "$KUBEBUILDER_ASSETS"
	exit 0
fi

assets=$cache/kube
mkdir -p "$assets"
exec 9>"$cache/kube.lock"
flock 9

# Built again when a pinned version or the way of building changes. What is there stays in use
# meanwhile: files are exchanged whole.
key=$(cd "$root" && cat tests/kubetools/go.{mod,sum} tests/etcdtools/go.{mod,sum} scripts/kube.sh | sha256sum | cut -d' ' -f1)
if [ "$(cat "$assets/built" 2>/dev/null)" = "$key" ] && [ -z "$(missing_in "$assets")" ]; then
	printf '%s\n' "$assets"
	exit 0
fi

need go "install Go 1.26 or newer, or set KUBEBUILDER_ASSETS to a folder with ${binaries[*]}"
export GOTOOLCHAIN=local GOFLAGS="-mod=readonly -buildvcs=false -trimpath" CGO_ENABLED=0
started=$(date +%s)
rm -f "$assets/built"
staging=$(mktemp -d "$cache/kube.XXXXXX")
trap 'rm -rf "$staging"' EXIT

etcd=$(awk '$1 == "go.etcd.io/etcd/server/v3" {print $2}' "$root/tests/etcdtools/go.mod")
say "building etcd $etcd (about a minute)" >&2
cd "$root/tests/etcdtools"
go build -ldflags "-s -w" -o "$staging/etcd" go.etcd.io/etcd/server/v3 >&2

version=$(awk '$1 == "k8s.io/kubernetes" {print $2}' "$root/tests/kubetools/go.mod")
minor=${version#v1.}
minor=${minor%%.*}
# Without these /version is nonsense, and what asks for a version refuses it.
server=k8s.io/component-base/version
client=k8s.io/client-go/pkg/version
say "building Kubernetes $version (about eight minutes on two cores, once)" >&2
cd "$root/tests/kubetools"
go build -ldflags "-s -w -X $server.gitVersion=$version -X $server.gitMajor=1 -X $server.gitMinor=$minor -X $client.gitVersion=$version" \
	-o "$staging/" tool >&2

mv -f "$staging"/* "$assets/"
printf '%s\n' "$key" >"$assets/built"
say "built them in $(seconds_since "$started")" >&2
printf '%s\n' "$assets"
