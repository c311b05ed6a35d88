"""Holds manifests against the schemas of one Kubernetes version.

schemas.py VERSION FILE...
"""

import sys

import kubernetes_validate
import yaml

# Their schemas are their CustomResourceDefinitions', which no Kubernetes version has.
OTHERS = ("picket.dev/", "monitoring.coreos.com/", "cert-manager.io/")


def main(version: str, files: list[str]) -> int:
    """Validates every object; returns how many are wrong."""
    checked, wrong = 0, 0
    for file in files:
        with open(file, encoding="utf-8") as text:
            objects = [one for one in yaml.safe_load_all(text) if one]
        for one in objects:
            if one["apiVersion"].startswith(OTHERS):
                continue
            checked += 1
            try:
                kubernetes_validate.validate(one, version, strict=True)
            except (
                kubernetes_validate.ValidationError,
                kubernetes_validate.SchemaNotFoundError,
            ) as error:
                wrong += 1
                name = one["metadata"].get("name")
                print(f"{version}: {one['kind']} {name}: {error}", file=sys.stderr)
    print(f"    Kubernetes {version}: {checked} objects, {wrong} wrong")
    return wrong


sys.exit(1 if main(sys.argv[1], sys.argv[2:]) else 0)
