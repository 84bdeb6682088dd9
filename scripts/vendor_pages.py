"""Fetch the programs of others that the viewer's pages hold: from the npm registry, with their licences.

    python scripts/vendor_pages.py dagre=3.1.3 uplot=1.6.32

Without versions, those that are vendored now are fetched again. ``pages/vendored/vendored.json`` names each package's
version, licence and files with their hashes.
"""

import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

VENDORED = Path(__file__).parents[1] / "src" / "workflow_r1" / "viewing" / "pages" / "vendored"
DESCRIBED = VENDORED / "vendored.json"

PACKAGES = {
    "dagre": ("@dagrejs/dagre", {"dist/dagre.min.js": "dagre.min.js"}),
    "uplot": ("uplot", {"dist/uPlot.iife.min.js": "uPlot.iife.min.js", "dist/uPlot.min.css": "uPlot.min.css"}),
}
"""Package in the registry, and the files that are taken from it, by our name for it."""

ALLOWED = {"MIT"}
"""Licences that may stand in the wheel."""


def main() -> None:
    """Fetch, check and write."""
    known = json.loads(DESCRIBED.read_text(encoding="utf-8")) if DESCRIBED.is_file() else {}
    versions = {name: each["version"] for name, each in known.items()}
    versions |= dict(argument.split("=", 1) for argument in sys.argv[1:])
    described = {name: fetch(name, versions[name]) for name in sorted(PACKAGES)}
    DESCRIBED.write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")


def fetch(name: str, version: str) -> dict[str, object]:
    """Fetch one package; return its description."""
    package, files = PACKAGES[name]
    with tempfile.TemporaryDirectory() as folder:
        packed = subprocess.run(
            ["npm", "pack", "--silent", f"{package}@{version}"], cwd=folder, check=True, capture_output=True, text=True
        ).stdout.split()[-1]
        with tarfile.open(Path(folder) / packed) as archive:
            archive.extractall(folder, filter="data")
        root = Path(folder) / "package"
        about = json.loads((root / "package.json").read_text(encoding="utf-8"))
        if about["license"] not in ALLOWED or about["version"] != version:
            sys.exit(f"expected {package} {version} under {ALLOWED}, found {about['version']} under {about['license']}")
        digests = {}
        for source, target in files.items():
            content = (root / source).read_bytes()
            (VENDORED / target).write_bytes(content)
            digests[target] = hashlib.sha256(content).hexdigest()
        licence = f"{name}.LICENSE"
        (VENDORED / licence).write_bytes((root / "LICENSE").read_bytes())
    print(f"{package} {version}: {', '.join(files.values())}")
    return {
        "package": package,
        "version": version,
        "licence": about["license"],
        "licence_file": licence,
        "sha256": digests,
    }


if __name__ == "__main__":
    main()
