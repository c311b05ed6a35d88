#!/usr/bin/env bash
# Builds both images from scratch bases, without a registry, into dist/ as OCI
# archives, and into the storage of the container tests.
source "$(dirname "$0")/lib.sh"
source "$root/scripts/containers.sh"

# The sidecar image is part of every pod's start: Fargate caches none.
sidecar_limit=$((12 * 1000 * 1000))

version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$root/Cargo.toml" | head -1)
revision=$(git -C "$root" rev-parse HEAD 2>/dev/null || echo unknown)
# One source gives one image, whenever it is built.
epoch=$(git -C "$root" log -1 --format=%ct 2>/dev/null || echo 0)

context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT

# image NAME FILE...: puts the files, and nothing else, in reach of the build.
image() {
	local name=$1 file
	shift
	rm -rf "${context:?}"/*
	for file in "$@"; do
		[ -x "$dist/bin/$file" ] || die "dist/bin/$file is not there: run make build"
		install -m 0555 "$dist/bin/$file" "$context/"
	done
	install -m 0444 "$root/LICENSE" "$context/"
	buildah bud --quiet --isolation chroot --format oci --timestamp "$epoch" \
		--label "org.opencontainers.image.title=$name" \
		--label "org.opencontainers.image.version=$version" \
		--label "org.opencontainers.image.revision=$revision" \
		--label "org.opencontainers.image.licenses=Apache-2.0" \
		--tag "localhost/$name:dev" \
		--file "$root/images/$name.Containerfile" "$context" >/dev/null
	rm -f "$dist/$name.tar"
	buildah push --quiet "localhost/$name:dev" "oci-archive:$dist/$name.tar:$name:$version" >/dev/null
	local unpacked packed
	unpacked=$(podman image inspect --format '{{.Size}}' "localhost/$name:dev")
	packed=$(stat -c %s "$dist/$name.tar")
	printf '    %-16s %6d KiB unpacked, %6d KiB as dist/%s.tar\n' "$name" $((unpacked / 1024)) $((packed / 1024)) "$name"
	if [ "$name" = picket-sidecar ] && [ "$unpacked" -ge "$sidecar_limit" ]; then
		die "picket-sidecar is $unpacked bytes; every pod's start waits for it, so it has to stay under $sidecar_limit"
	fi
}

started=$(date +%s)
say "building the images"
image picket-sidecar picket-tracer picket-agent
image picket picket-operator picket
say "built the images in $(seconds_since "$started")"
