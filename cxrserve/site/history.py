"""The chain of a site's versions: each names the SHA-256 of the file before it."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from cxrserve.errors import ConfigurationError
from cxrserve.site.file import Site, read_site


def history(folder: Path) -> list[tuple[Path, Site, str]]:
    """All versions in a folder, the first one first, with the SHA-256 of each file.

    Raises:
        ConfigurationError: a file is not valid, a version is missing or there twice, the files are of
            several sites, or a file is not the one that the next version names: it was changed.
    """
    versions = [(path, *read_site(path)) for path in sorted(folder.glob("*.json"))]
    versions.sort(key=lambda item: item[1].version)
    if not versions:
        raise ConfigurationError(f"{folder} holds no site file (*.json)")
    if names := sorted({site.name for _, site, _ in versions} - {versions[0][1].name}):
        raise ConfigurationError(
            f"{folder} holds files of several sites: {versions[0][1].name}, {', '.join(names)}. Use a folder "
            "for each site."
        )
    numbers = [site.version for _, site, _ in versions]
    if numbers != list(range(1, len(numbers) + 1)):
        raise ConfigurationError(
            f"{folder} holds the versions {numbers}; a history has each version from 1 on once"
        )
    for (path, _, sha256), (later, site, _) in pairwise(versions):
        if site.previous != sha256:
            raise ConfigurationError(
                f"{later} names {site.previous} as the version before it, but {path} has the SHA-256 "
                f"{sha256}: it was changed afterwards."
            )
    return versions
