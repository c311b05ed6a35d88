"""Copies the chart with the digests of two OCI archives in its values.

chart-digests.py REPOSITORY PICKET-ARCHIVE SIDECAR-ARCHIVE FOLDER
"""

import json
import pathlib
import re
import shutil
import sys
import tarfile


def digest(archive: str) -> str:
    """The digest under which a registry will have the archive's only image."""
    with tarfile.open(archive) as tar:
        index = json.load(tar.extractfile("index.json"))
    (manifest,) = index["manifests"]
    return manifest["digest"]


def fill(text: str, repository: str, value: str) -> str:
    """Puts repository and digest where the values name the repository."""
    name = repository.rsplit("/", 1)[-1]
    pattern = re.compile(
        rf'(^(?P<indent> +)repository: )picket-dev/{re.escape(name)}$(?P<between>.*?^(?P=indent)digest: )""',
        re.MULTILINE | re.DOTALL,
    )
    filled, count = pattern.subn(
        lambda match: f'{match[1]}{repository}{match["between"]}{value}', text, count=1
    )
    if count != 1:
        sys.exit(f"the chart's values have no place for the digest of {name}")
    return filled


repository, picket, sidecar, folder = sys.argv[1:]
chart = pathlib.Path(folder, "picket")
shutil.copytree(pathlib.Path(__file__).parent.parent / "charts" / "picket", chart)
values = chart / "values.yaml"
text = values.read_text()
text = fill(text, f"{repository}/picket", digest(picket))
text = fill(text, f"{repository}/picket-sidecar", digest(sidecar))
values.write_text(text)
