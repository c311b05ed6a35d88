#!/usr/bin/env bash
# Everything of a release, in dist/release: static binaries for x86-64 and
# aarch64, both images as OCI archives with what they are made of, the chart with
# the images' digests, and checksums. Nothing is published or signed here:
# .github/workflows/release.yaml does that. RELEASE_REPOSITORY (ghcr.io/picket-dev)
# is where the images will be.
source "$(dirname "$0")/lib.sh"

repository=${RELEASE_REPOSITORY:-ghcr.io/picket-dev}
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$root/Cargo.toml" | head -1)
out=$dist/release

need python3 "install python3"
need tar "install tar"
need sha256sum "install coreutils"
cd "$root"
if [ -n "$(git status --porcelain --untracked-files=no 2>/dev/null)" ]; then
	say "the tree has changes that are not committed: this is not what a tag would give"
fi
started=$(date +%s)
rm -rf "$out"
mkdir -p "$out"

# archive ARCHITECTURE FOLDER: the binaries as people download them.
archive() {
	local name=picket-$version-linux-$1 staged
	staged=$(mktemp -d)
	mkdir "$staged/$name"
	cp "$2"/picket "$2"/picket-agent "$2"/picket-operator "$2"/picket-tracer "$root/LICENSE" "$staged/$name/"
	# kubectl finds plugins by their name.
	ln -s picket "$staged/$name/kubectl-picket"
	# One source gives one archive, whenever it is made.
	tar --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$(git log -1 --format=%ct 2>/dev/null || echo 0)" \
		-C "$staged" -cf - "$name" | gzip -n -9 >"$out/$name.tar.gz"
	rm -rf "$staged"
}

scripts/build.sh
archive amd64 "$dist/bin"

if [ "$(uname -m)" = x86_64 ]; then
	scripts/build-aarch64.sh
	archive arm64 "$dist/bin-arm64"
fi

scripts/images.sh
for image in picket picket-sidecar; do
	cp "$dist/$image.tar" "$out/$image-$version.oci.tar"
done

say "writing what the images are made of"
target=$(uname -m)-unknown-linux-musl
python3 scripts/sbom.py "$out/picket-sidecar-$version.cdx.json" "$version" "$target" picket-tracer picket-agent
python3 scripts/sbom.py "$out/picket-$version.cdx.json" "$version" "$target" picket-operator picket-cli

say "packaging the chart with the images' digests"
python3 scripts/chart-digests.py "$repository" "$out"/picket-"$version".oci.tar "$out"/picket-sidecar-"$version".oci.tar "$out/chart"
"$(scripts/helm.sh | tail -1)" package "$out/chart/picket" --destination "$out" >/dev/null
mv "$out/picket-$version.tgz" "$out/picket-chart-$version.tgz"
rm -rf "$out/chart"

(cd "$out" && find . -type f ! -name SHA256SUMS -printf '%P\n' | sort | xargs sha256sum >SHA256SUMS)
scripts/release-check.sh
say "dist/release is complete, in $(seconds_since "$started")"
