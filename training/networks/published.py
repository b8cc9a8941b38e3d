"""ImageNet weights that torchvision and timm publish: the file of each architecture, here or to be fetched.

A fit never starts from random weights because a file is missing: that is an error, which says how to get it.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

IMAGENET: Final = "imagenet"
SCRATCH: Final = "scratch"
_TIMM_FILE: Final = "model.safetensors"
# torchvision's file names end in the first digits of their SHA-256.
_HASHED_NAME: Final = re.compile(r"-([0-9a-f]{8,})\.pth$")


class WeightsMissing(ValueError):
    """Weights that a recipe starts from are not on this machine, or not what they should be."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """One publication of weights: torchvision's entry, or timm's repository on the Hugging Face hub."""

    publisher: Literal["torchvision", "timm"]
    name: str

    @property
    def url(self) -> str:
        """The address of the file."""
        if self.publisher == "timm":
            return f"https://huggingface.co/{self.name}/resolve/main/{_TIMM_FILE}"
        from torchvision.models import get_weight

        return str(get_weight(self.name).url)

    def path(self) -> Path:
        """The place of the file on this machine, whether it is there or not."""
        if self.publisher == "timm":
            from huggingface_hub import try_to_load_from_cache

            cached = try_to_load_from_cache(self.name, _TIMM_FILE, cache_dir=_hub_cache())
            if isinstance(cached, str):
                return Path(cached)
            return (
                _hub_cache() / f"models--{self.name.replace('/', '--')}" / "snapshots" / "main" / _TIMM_FILE
            )
        import torch

        return Path(torch.hub.get_dir()) / "checkpoints" / self.url.rpartition("/")[2]

    def fetch(self) -> Path:
        """Fetch the file, unless it is there.

        Raises:
            WeightsMissing: it cannot be fetched.
        """
        if self.path().is_file():
            return self.path()
        try:
            if self.publisher == "timm":
                from huggingface_hub import hf_hub_download

                return Path(hf_hub_download(self.name, _TIMM_FILE, cache_dir=_hub_cache()))
            from torchvision.models import get_weight

            get_weight(self.name).get_state_dict(progress=False, check_hash=True)
        except Exception as error:  # of urllib, requests or the hub: whatever stands between here and there
            raise WeightsMissing(
                f"{self.url} cannot be fetched ({type(error).__name__}: {str(error)[:200]})"
            ) from error
        return self.path()


PUBLISHED: Final[dict[str, Published]] = {
    "densenet121": Published(publisher="torchvision", name="DenseNet121_Weights.IMAGENET1K_V1"),
    "densenet161": Published(publisher="torchvision", name="DenseNet161_Weights.IMAGENET1K_V1"),
    "efficientnet_b4": Published(publisher="torchvision", name="EfficientNet_B4_Weights.IMAGENET1K_V1"),
    "densenetblur121d": Published(publisher="timm", name="timm/densenetblur121d.ra_in1k"),
}


def weights_file(architecture: str, weights: str) -> Path | None:
    """The file of the weights that a recipe starts from; None where it starts from scratch.

    Args:
        weights: "imagenet", "scratch", or a file.

    Raises:
        WeightsMissing: the file is not there, or nobody publishes weights of this architecture.
    """
    if weights == SCRATCH or architecture == "small":
        return None
    if weights != IMAGENET:
        path = Path(weights).expanduser()
        if not path.is_file():
            raise WeightsMissing(f"there is no file of weights at {path}; check --set weights=…")
        return path
    if architecture not in PUBLISHED:
        raise WeightsMissing(
            f"nobody publishes ImageNet weights of {architecture}: set weights to a file, or to scratch"
        )
    published = PUBLISHED[architecture]
    path = published.path()
    if not path.is_file():
        raise WeightsMissing(
            f"the ImageNet weights of {architecture} are not at {path}: run `cxrserve train weights` with "
            f"network access, copy {published.url} there, set weights to a file, or to scratch"
        )
    _check_name(path)
    return path


def fetch_weights(architecture: str, weights: str) -> Path | None:
    """As `weights_file`, after fetching a published file that is not there.

    Raises:
        WeightsMissing: it is not there and cannot be fetched.
    """
    if weights == IMAGENET and architecture in PUBLISHED:
        try:
            PUBLISHED[architecture].fetch()
        except WeightsMissing as error:
            try:
                return weights_file(architecture, weights)
            except WeightsMissing as missing:
                raise WeightsMissing(f"{missing}. {error}") from error
    return weights_file(architecture, weights)


def _check_name(path: Path) -> None:
    """Compare a file with the hash in its name, as torchvision names them."""
    match = _HASHED_NAME.search(path.name)
    if match is None:
        return
    with path.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    if not sha256.startswith(match[1]):
        raise WeightsMissing(f"{path} has the SHA-256 {sha256[:12]}…, not the one in its name; remove it")


def _hub_cache() -> Path:
    hub_home = os.environ.get("HF_HOME", "~/.cache/huggingface")
    return Path(os.environ.get("HF_HUB_CACHE", f"{hub_home}/hub")).expanduser()
