"""Writes what some packages of the workspace are linked from, as CycloneDX JSON.

sbom.py OUTPUT VERSION TARGET PACKAGE...

Taken from what cargo resolved with Cargo.lock: normal dependencies on the target, with licence and
the checksum that the lock file pins. What only builds or tests use is left out.
"""

import json
import pathlib
import subprocess
import sys
import tomllib

output, version, target, *packages = sys.argv[1:]
root = pathlib.Path(__file__).parent.parent
command = ["cargo", "metadata", "--locked", "--format-version=1", f"--filter-platform={target}"]
metadata = json.loads(subprocess.run(command, cwd=root, check=True, capture_output=True).stdout)
by_id = {package["id"]: package for package in metadata["packages"]}
nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
lock = tomllib.loads((root / "Cargo.lock").read_text())
checksums = {
    (package["name"], package["version"]): package["checksum"]
    for package in lock["package"]
    if "checksum" in package
}


def linked(package: str) -> list[str]:
    """The packages that a package is linked with."""
    return [
        dependency["pkg"]
        for dependency in nodes[package]["deps"]
        if any(kind["kind"] is None for kind in dependency["dep_kinds"])
    ]


def reference(package: str) -> str:
    return f"pkg:cargo/{by_id[package]['name']}@{by_id[package]['version']}"


def component(package: str) -> dict:
    described = by_id[package]
    found = {
        "type": "application" if described["name"] in packages else "library",
        "bom-ref": reference(package),
        "name": described["name"],
        "version": described["version"],
        "purl": reference(package),
    }
    if described.get("license"):
        # Older packages write MIT/Apache-2.0.
        found["licenses"] = [{"expression": described["license"].replace("/", " OR ")}]
    checksum = checksums.get((described["name"], described["version"]))
    if checksum:
        found["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    return found


wanted = [package["id"] for package in metadata["packages"] if package["name"] in packages]
if len(wanted) != len(packages):
    sys.exit(f"not all of these are packages of the workspace: {packages}")
reached = set(wanted)
while wanted:
    for dependency in linked(wanted.pop()):
        if dependency not in reached:
            reached.add(dependency)
            wanted.append(dependency)

ordered = sorted(reached, key=reference)
name = pathlib.Path(output).name.removesuffix(f"-{version}.cdx.json")
bill = {
    "bomFormat": "CycloneDX",
    "specVersion": "1.5",
    "version": 1,
    "metadata": {
        "component": {"type": "container", "bom-ref": name, "name": name, "version": version}
    },
    "components": [component(package) for package in ordered],
    "dependencies": [
        {"ref": reference(package), "dependsOn": sorted({reference(d) for d in linked(package)})}
        for package in ordered
    ],
}
pathlib.Path(output).write_text(json.dumps(bill, indent=1) + "\n")
