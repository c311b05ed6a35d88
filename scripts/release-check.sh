#!/usr/bin/env bash
# Checks that dist/release is complete and of one piece: checksums, architectures,
# digests of the chart, bills of materials.
source "$(dirname "$0")/lib.sh"

out=$dist/release
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$root/Cargo.toml" | head -1)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$out" || die "dist/release is not there: run make release"

sha256sum --quiet --check SHA256SUMS
listed=$(awk '{print $2}' SHA256SUMS | sort)
there=$(find . -type f ! -name SHA256SUMS -printf '%P\n' | sort)
[ "$listed" = "$there" ] || die "SHA256SUMS does not list exactly what is there"
for file in "picket-$version-linux-amd64.tar.gz" "picket-$version-linux-arm64.tar.gz" \
	"picket-$version.oci.tar" "picket-sidecar-$version.oci.tar" \
	"picket-$version.cdx.json" "picket-sidecar-$version.cdx.json" "picket-chart-$version.tgz"; do
	[ -s "$file" ] || die "dist/release/$file is missing"
done

# machine FILE: the number of the processor in an ELF header.
machine() { od -A n -t u2 -j 18 -N 2 "$1" | tr -d ' '; }
for pair in amd64:62 arm64:183; do
	tar -xzf "picket-$version-linux-${pair%:*}.tar.gz" -C "$work"
	for program in picket picket-agent picket-operator picket-tracer; do
		binary=$work/picket-$version-linux-${pair%:*}/$program
		[ "$(machine "$binary")" = "${pair#*:}" ] || die "$program of ${pair%:*} is for another processor"
		if head -c 8192 "$binary" | grep -q -a 'ld-linux\|ld-musl'; then
			die "$program of ${pair%:*} is not static"
		fi
	done
done
told=$("$work/picket-$version-linux-$(uname -m | sed 's/x86_64/amd64/; s/aarch64/arm64/')/picket" --version)
[ "$told" = "picket $version" ] || die "the program says that it is $told"

# What the chart installs is what the archives hold.
rendered=$("$("$root/scripts/helm.sh" | tail -1)" template picket "picket-chart-$version.tgz" -n picket-system --kube-version 1.34.0)
for image in picket picket-sidecar; do
	digest=$(tar -xOf "$image-$version.oci.tar" index.json | python3 -c 'import json,sys; print(json.load(sys.stdin)["manifests"][0]["digest"])')
	grep -q "/$image@$digest\"" <<<"$rendered" || die "the chart does not install $image by the digest of its archive ($digest)"
	python3 - "$image-$version.cdx.json" <<'PYTHON' || die "$image-$version.cdx.json is not whole"
import json, sys
bill = json.load(open(sys.argv[1]))
names = {component["name"] for component in bill["components"]}
known = {component["bom-ref"] for component in bill["components"]}
ours = {"picket-sidecar": {"picket-tracer", "picket-agent"}, "picket": {"picket-operator", "picket-cli"}}
assert ours[bill["metadata"]["component"]["name"]] <= names
assert {"serde", "libc"} <= names
assert all(component.get("version") for component in bill["components"])
assert all(set(d["dependsOn"]) <= known for d in bill["dependencies"])
PYTHON
done
say "dist/release is whole"
