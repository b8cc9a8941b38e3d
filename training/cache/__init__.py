"""Pyramids on disk: every image decoded and resized once, then read by the fits.

compressed.py  levels of radiographs, compressed without loss
files.py     files of a cache
images.py    filling a cache with the radiographs of a dataset, decoded as for serving, each file once
phantoms.py  filling a cache with phantoms, drawn by several processes, with the locations of their findings
pyramids.py  pyramids of a cache
rows.py      rows of levels, as if they were one array
"""

from training.cache.images import cache_images, changed_files, content_sha256, undecodable
from training.cache.phantoms import cache_phantoms
from training.cache.pyramids import Labels, Locations, PyramidCache, open_cache, open_films

__all__ = [
    "Labels",
    "Locations",
    "PyramidCache",
    "cache_images",
    "cache_phantoms",
    "changed_files",
    "content_sha256",
    "open_cache",
    "open_films",
    "undecodable",
]
