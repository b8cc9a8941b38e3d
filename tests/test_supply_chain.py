"""The supply chain, offline: bounds above known holes, a bill of materials, a wheel that repeats."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
import tomllib
from hashlib import sha256
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import cyclonedx.schema
import jsonschema
import pytest
from packaging.requirements import Requirement
from packaging.version import Version
from referencing import Registry, Resource

from tests.test_licences import installed_with

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
HOLES = tomllib.loads((ROOT / "deploy" / "known-holes.toml").read_text(encoding="utf-8"))["holes"]
EXTRAS = ["pacs", "oidc", "signing"]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def requirements() -> list[Requirement]:
    """All that pyproject.toml names, with extras."""
    groups = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    return [Requirement(text) for group in groups for text in group]


def pins() -> dict[str, Version]:
    """The versions in deploy/constraints.txt."""
    lines = (ROOT / "deploy" / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split(";")[0].strip().split("==") for line in lines if line and not line.startswith("#")]
    return {normalised(name): Version(version) for name, version in pairs}


def locked(name: str) -> dict[str, tuple[Version, int]]:
    """Version and number of hashes of each library in deploy/`name`."""
    text = (ROOT / "deploy" / name).read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line.split() for line in text.splitlines()]
    found = {}
    for words in lines:
        library, _, version = words[0].partition("==")
        hashes = [word for word in words if re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", word)]
        found[normalised(library.partition("[")[0])] = Version(version), len(hashes)
    return found


def test_the_image_installs_every_library_by_its_hash() -> None:
    """`make lock` writes the two files; it has to run again when a pin or a dependency changes."""
    serving, building = locked("requirements.txt"), locked("requirements-build.txt")
    assert [name for name, (_, hashes) in {**serving, **building}.items() if not hashes] == []
    versions = pins()
    assert {name: version for name, (version, _) in serving.items() if version != versions.get(name)} == {}
    wanted = {normalised(name) for extra in ("", *EXTRAS) for name in installed_with(extra)} - {"cxrserve"}
    assert wanted - serving.keys() == set()
    assert "hatchling" in building
    steps = [step for step in DOCKERFILE.replace("\\\n", " ").split("&&") if "pip install" in step]
    fetching = [step for step in steps if "/wheel/" not in step]
    assert len(fetching) == 2
    assert all("--require-hashes" in step for step in fetching)
    assert f'ARG EXTRAS="{",".join(EXTRAS)}"' in DOCKERFILE


@pytest.mark.parametrize("name", HOLES)
def test_bounds_and_pins_are_above_known_holes(name: str) -> None:
    fixed = Version(HOLES[name]["fixed"])
    named = [requirement for requirement in requirements() if normalised(requirement.name) == name]
    assert named, f"{name} is not named in pyproject.toml"
    for requirement in named:
        floors = [Version(part.version) for part in requirement.specifier if part.operator in (">=", "==")]
        assert floors, f"{requirement} has no lower bound"
        assert max(floors) >= fixed, f"{requirement} admits {HOLES[name]['id']}"
    assert pins()[name] >= fixed


def test_every_pin_is_within_the_bounds() -> None:
    versions = pins()
    for requirement in requirements():
        if (version := versions.get(normalised(requirement.name))) is not None:
            assert version in requirement.specifier, requirement


def test_every_library_that_is_imported_is_named() -> None:
    """A package that only comes with another library can change under us, and has no bound."""
    named = {normalised(requirement.name) for requirement in requirements()}
    owners = packages_distributions()
    missing = set()
    for path in (ROOT / "cxrserve").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            modules = (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom) and node.level == 0
                else []
            )
            for module in {module.partition(".")[0] for module in modules} - sys.stdlib_module_names:
                distributions = {normalised(name) for name in owners.get(module, [])}
                if distributions and not distributions & {*named, "cxrserve"}:
                    missing.add(f"{module} in {path.relative_to(ROOT)}")
    assert missing == set()


def bill(*arguments: str) -> str:
    """The output of deploy/sbom.py."""
    command = [sys.executable, str(ROOT / "deploy" / "sbom.py"), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def validator() -> Any:
    """A validator of CycloneDX 1.6, by the schemas of the standard's own library."""
    folder = Path(cyclonedx.schema.__file__).parent / "_res"
    schemas = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.schema.json")]
    registry: Registry[Any] = Registry().with_resources(
        (schema["$id"], Resource.from_contents(schema)) for schema in schemas if "$id" in schema
    )
    main = json.loads((folder / "bom-1.6.SNAPSHOT.schema.json").read_text(encoding="utf-8"))
    return jsonschema.Draft7Validator(main, registry=registry)


def test_the_bill_of_materials_is_valid_complete_and_repeats() -> None:
    first = bill()
    assert first == bill()
    document = json.loads(first)
    assert [error.message for error in validator().iter_errors(document)] == []
    names = {component["name"] for component in document["components"]}
    wanted = {name for extra in ("", *EXTRAS) for name in installed_with(extra)} - {"cxrserve"}
    assert names == wanted | {"swagger-ui-dist"}
    assert len(names) > 40
    references = {component["bom-ref"] for component in document["components"]}
    for entry in document["dependencies"]:
        assert set(entry["dependsOn"]) <= references
    document["components"][0]["type"] = "nonsense"
    assert list(validator().iter_errors(document))


def test_the_bill_names_the_copy_of_swagger_ui() -> None:
    folder = ROOT / "cxrserve" / "api" / "swagger_ui"
    document = json.loads(bill())
    (copy,) = [part for part in document["components"] if part["name"] == "swagger-ui-dist"]
    assert f"swagger-ui-dist {copy['version']} (npm)" in (folder / "README.md").read_text(encoding="utf-8")
    script = (folder / "swagger-ui-bundle.js").read_text(encoding="utf-8")
    assert f'"{copy["version"]}"' in script, "the script names its version"
    assert copy["licenses"] == [{"expression": "Apache-2.0"}]
    hashes = {part["name"]: part["hashes"][0]["content"] for part in copy["components"]}
    assert {part["hashes"][0]["alg"] for part in copy["components"]} == {"SHA-256"}
    shipped = [path for path in folder.iterdir() if path.suffix in (".js", ".css")]
    assert hashes == {path.name: sha256(path.read_bytes()).hexdigest() for path in shipped}
    assert len(hashes) == 2
    (root,) = [each for each in document["dependencies"] if each["ref"].startswith("pkg:pypi/cxrserve@")]
    assert copy["bom-ref"] in root["dependsOn"]


@pytest.mark.skipif(shutil.which("dpkg-query") is None, reason="dpkg-query is not installed")
def test_the_bill_of_an_image_names_its_debian_packages() -> None:
    document = json.loads(bill("--system"))
    assert [error.message for error in validator().iter_errors(document)] == []
    assert any(component["purl"].startswith("pkg:deb/debian/dpkg@") for component in document["components"])


def test_two_builds_give_the_same_wheel(tmp_path: Path) -> None:
    digests = set()
    for name in ("one", "two"):
        source = tmp_path / name / "source"
        ignored = shutil.ignore_patterns("__pycache__")
        for folder in ("cxrserve", "training"):
            shutil.copytree(ROOT / folder, source / folder, ignore=ignored, copy_function=shutil.copyfile)
        for file in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copyfile(ROOT / file, source / file)
        command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", ".."]
        subprocess.run(command, cwd=source, check=True, capture_output=True)
        (wheel,) = (tmp_path / name).glob("*.whl")
        digests.add(sha256(wheel.read_bytes()).hexdigest())
    assert len(digests) == 1
