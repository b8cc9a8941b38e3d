"""Pyramids on disk: every image decoded and resized once, then memory-mapped by whoever trains."""

from training.cache.images import cache_images, changed_files, content_sha256, undecodable
from training.cache.phantoms import cache_phantoms
from training.cache.pyramids import Labels, Places, PyramidCache, open_cache, open_films

__all__ = [
    "Labels",
    "Places",
    "PyramidCache",
    "cache_images",
    "cache_phantoms",
    "changed_files",
    "content_sha256",
    "open_cache",
    "open_films",
    "undecodable",
]
