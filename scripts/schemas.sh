#!/usr/bin/env bash
# Holds everything that the chart renders, and a manifest that `picket inject` has
# changed, against the schemas of each Kubernetes version that the chart supports.
# The schemas come with a package from PyPI, in an environment of its own.
source "$(dirname "$0")/lib.sh"

validator=kubernetes-validate==1.37.0
# Those of docs/chart.md.
versions="1.30 1.31 1.32 1.33 1.34 1.35 1.36 1.37"

need python3 "install python3 and its venv module"
environment=$cache/${validator//==/-}
if [ ! -e "$environment/complete" ]; then
	say "installing $validator"
	rm -rf "$environment"
	python3 -m venv "$environment" || die "python3 has no venv module: install python3-venv"
	"$environment/bin/pip" install --quiet --disable-pip-version-check "$validator"
	touch "$environment/complete"
fi
helm=$("$root/scripts/helm.sh" | tail -1)
[ -x "$dist/bin/picket" ] || die "dist/bin/picket is not there: run make build"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

everything="backstop.mode=Deny,networkPolicy.enabled=true,breakGlass.groups={oncall},rollout.enabled=true,quarantine.enabled=true,priorityClassName=high,imageResolution.pullSecrets=Cluster,imageResolution.credentialsSecret=a,imageResolution.certificateAuthorities=b,monitoring.dashboard.enabled=true,monitoring.serviceMonitor.enabled=true,certificates.mode=External"
cat >"$work/policy.yaml" <<'YAML'
apiVersion: picket.dev/v1alpha1
kind: ProtectionPolicy
metadata: {name: all, namespace: shop}
spec: {computeType: Any}
YAML
cat >"$work/deployment.yaml" <<'YAML'
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
        - {name: web, image: registry.example/web:1, command: [/bin/web]}
YAML
# quietly COMMAND...: shows what it says beside its output only when it fails.
quietly() { "$@" 2>"$work/said" || { cat "$work/said" >&2; return 1; }; }
quietly "$dist/bin/picket" inject -f "$work/deployment.yaml" --policy "$work/policy.yaml" >"$work/injected.yaml"
for version in $versions; do
	for values in "log=info" "$everything"; do
		for upgrade in "" "--is-upgrade"; do
			# shellcheck disable=SC2086
			quietly "$helm" template picket "$root/charts/picket" -n picket-system --kube-version "$version.0" --set "$values" $upgrade
			echo "---"
		done
	done >"$work/rendered.yaml"
	"$environment/bin/python" "$root/scripts/schemas.py" "$version" "$work/rendered.yaml" "$work/injected.yaml"
done
