"""Joins the bills of materials that cargo-cyclonedx wrote for several packages into one.

sbom.py OUTPUT VERSION PACKAGE-FOLDER...
"""

import json
import pathlib
import sys

output, version, *folders = sys.argv[1:]
components, dependencies = {}, {}
for folder in folders:
    bill = json.loads(pathlib.Path(folder, "release-sbom.json").read_text())
    for component in [bill["metadata"]["component"], *bill.get("components", [])]:
        # Where it was built says nothing about what it is.
        for key in ("components",):
            component.pop(key, None)
        reference = component["bom-ref"].rsplit("/", 1)[-1]
        component["bom-ref"] = reference
        if "purl" in component:
            component["purl"] = component["purl"].split("?")[0]
        components[reference] = component
    for dependency in bill.get("dependencies", []):
        reference = dependency["ref"].rsplit("/", 1)[-1]
        known = dependencies.setdefault(reference, set())
        known.update(other.rsplit("/", 1)[-1] for other in dependency.get("dependsOn", []))

name = pathlib.Path(output).name.removesuffix(f"-{version}.cdx.json")
pathlib.Path(output).write_text(
    json.dumps(
        {
            "bomFormat": "CycloneDX",
            "specVersion": "1.5",
            "version": 1,
            "metadata": {"component": {"type": "container", "name": name, "version": version}},
            "components": [components[reference] for reference in sorted(components)],
            "dependencies": [
                {"ref": reference, "dependsOn": sorted(dependencies[reference])}
                for reference in sorted(dependencies)
            ],
        },
        indent=1,
    )
    + "\n"
)
