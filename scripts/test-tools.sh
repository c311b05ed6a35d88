#!/usr/bin/env bash
# Puts in place what the tests need beyond the Rust toolchain: podman and
# friends from Debian, and a Kubernetes control plane.
source "$(dirname "$0")/lib.sh"
source "$root/scripts/containers.sh"
"$root/scripts/packages.sh" apache2-utils docker-registry gdb python3 strace busybox-static stress-ng tini dumb-init default-jdk-headless musl-tools \
	linux-perf linux-libc-dev linux-libc-dev-arm64-cross linux-libc-dev-armhf-cross
delve=$("$root/scripts/delve.sh" | tail -1)

assets=$("$root/scripts/kube.sh" | tail -1)
helm=$("$root/scripts/helm.sh" | tail -1)
say "debuggers: gdb, strace, and delve in $delve"
say "containers: $(podman --version), configured in $containers"
say "control plane: $("$assets/kube-apiserver" --version), $("$assets/etcd" --version | head -1), in $assets"
say "Helm: $("$helm" version --short), in $helm"
