"""The software bill of materials of an installed cxrserve, as CycloneDX 1.6 JSON on standard output.

    python deploy/sbom.py                     what cxrserve needs, as it is installed here
    python deploy/sbom.py --extras pacs,oidc  with these extras
    python deploy/sbom.py --system            and the Debian packages of this system: for an image

It reads only what is installed, so it needs no network, and two runs on the same installation give the same
bytes. The image holds the one of its build in /opt/cxrserve/sbom.cdx.json.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import subprocess
import sys
import uuid
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from importlib.resources import files
from urllib.parse import quote

from packaging.requirements import Requirement

ROOT = "cxrserve"
# The first line about the package in the README of a folder with files of npm: name, version, owner, licence.
VENDORED = ("api/swagger_ui",)
ABOUT = re.compile(r"^(\S+) (\d\S*) \(npm\), (.+?), ([A-Za-z0-9.-]+): see LICENSE", re.MULTILINE)


def name_of(raw: str) -> str:
    """The normalised name of a distribution (PEP 503)."""
    return re.sub(r"[-_.]+", "-", raw).lower()


def installed(extras: list[str]) -> tuple[dict[str, Distribution], dict[str, set[str]]]:
    """The distributions that cxrserve with `extras` needs, and the names that each of them depends on."""
    distributions: dict[str, Distribution] = {}
    needs: dict[str, set[str]] = {}
    todo, seen = [(ROOT, extra) for extra in ("", *extras)], set()
    while todo:
        name, extra = todo.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        try:
            dist = distribution(name)
        except PackageNotFoundError:
            continue
        distributions[name] = dist
        needs.setdefault(name, set())
        for text in dist.requires or []:
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                key = name_of(requirement.name)
                needs[name].add(key)
                todo += [(key, inner) for inner in ("", *requirement.extras)]
    return distributions, needs


def component(name: str, dist: Distribution) -> dict[str, object]:
    """One distribution of Python."""
    purl = f"pkg:pypi/{name}@{quote(dist.version)}"
    entry: dict[str, object] = {
        "type": "application" if name == ROOT else "library",
        "bom-ref": purl,
        "name": name,
        "version": dist.version,
        "purl": purl,
    }
    metadata = dist.metadata
    if expression := metadata["License-Expression"]:
        entry["licenses"] = [{"expression": expression}]
    elif classifiers := [
        text.rpartition(" :: ")[2]
        for text in metadata.get_all("Classifier") or []
        if text.startswith("License ::")
    ]:
        entry["licenses"] = [{"license": {"name": text}} for text in sorted(classifiers)]
    elif licence := (metadata["License"] or "").strip():
        entry["licenses"] = [{"license": {"name": licence.splitlines()[0][:100]}}]
    if record := dist.read_text("RECORD"):  # the hashes of all its files
        lines = sorted(
            line for line in record.splitlines() if ",sha256=" in line and "__pycache__" not in line
        )
        digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
        entry["properties"] = [{"name": "cxrserve:record-sha256", "value": digest}]
    return entry


def vendored(folder: str) -> dict[str, object] | None:
    """A package of npm whose files are in cxrserve, with the hash of each; None where they were taken out."""
    place = files(ROOT).joinpath(folder)
    if not place.is_dir():
        return None
    about = ABOUT.search(place.joinpath("README.md").read_text(encoding="utf-8"))
    if about is None:
        raise SystemExit(f"{folder}/README.md does not name the package, its version and its licence.")
    name, version, owner, licence = about.groups()
    purl = f"pkg:npm/{name}@{version}"
    parts = sorted(part.name for part in place.iterdir() if part.name.endswith((".js", ".css")))
    return {
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": version,
        "purl": purl,
        "supplier": {"name": owner},
        "licenses": [{"expression": licence}],
        "components": [
            {
                "type": "file",
                "name": part,
                "hashes": [
                    {
                        "alg": "SHA-256",
                        "content": hashlib.sha256(place.joinpath(part).read_bytes()).hexdigest(),
                    }
                ],
            }
            for part in parts
        ],
    }


def debian() -> list[dict[str, object]]:
    """The packages of a Debian system."""
    form = "${db:Status-Status}\t${Package}\t${Version}\t${Architecture}\n"
    lines = subprocess.run(  # noqa: S603
        ["dpkg-query", "--show", f"--showformat={form}"],  # noqa: S607
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    entries = []
    for line in sorted(lines):
        status, name, version, architecture = line.split("\t")
        if status == "installed":
            purl = f"pkg:deb/debian/{quote(name)}@{quote(version)}?arch={architecture}"
            entries.append(
                {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}
            )
    return entries


def bill(extras: list[str], *, system: bool) -> dict[str, object]:
    """The whole bill."""
    distributions, needs = installed(extras)
    components = {name: component(name, dist) for name, dist in sorted(distributions.items())}
    references = {name: str(entry["bom-ref"]) for name, entry in components.items()}
    root = components.pop(ROOT)
    copies = [entry for folder in VENDORED if (entry := vendored(folder)) is not None]
    packages = debian() if system else []
    needed = {name: [references[need] for need in needs[name] if need in references] for name in references}
    needed[ROOT] += [str(entry["bom-ref"]) for entry in copies]
    document: dict[str, object] = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": root},
        "components": [*components.values(), *copies, *packages],
        "dependencies": [
            {"ref": references[name], "dependsOn": sorted(needed[name])} for name in sorted(references)
        ],
    }
    content = json.dumps(document, sort_keys=True)
    document["serialNumber"] = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, content)}"
    return document


def main() -> int:
    """Print the bill."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--extras", default="pacs,oidc,signing", help="of cxrserve, separated by commas")
    parser.add_argument("--system", action="store_true", help="with the Debian packages of this system")
    arguments = parser.parse_args()
    extras = [extra for extra in arguments.extras.split(",") if extra]
    sys.stdout.write(json.dumps(bill(extras, system=arguments.system), indent=1, ensure_ascii=False) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
