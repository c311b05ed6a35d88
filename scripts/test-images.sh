#!/usr/bin/env bash
# Builds the image of the application that the container tests protect.
source "$(dirname "$0")/lib.sh"
source "$root/scripts/containers.sh"

context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
cp -r "$root/tests/images/app/." "$context/"
install -m 0755 "$(command -v busybox)" "$context/busybox"
[ -x "$dist/bin/picket-demo-shop" ] || die "dist/bin/picket-demo-shop is not there: run make build"
install -m 0755 "$dist/bin/picket-demo-shop" "$context/shop"
say "building the test application's image"
buildah bud --quiet --isolation chroot --tag localhost/picket-test-app:dev "$context" >/dev/null
