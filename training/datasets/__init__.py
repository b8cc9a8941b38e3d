"""Datasets on disk to one Manifest: readers, views, studies; what is bad is listed and left out."""

from training.datasets.faults import DatasetError, Fault, summary
from training.datasets.manifest import Manifest
from training.datasets.manifest_files import read_manifest, write_manifest
from training.datasets.options import ReadOptions
from training.datasets.read import READERS, read_dataset
from training.datasets.sample import Sample
from training.datasets.studies import Study, group_studies
from training.datasets.views import keep_views

__all__ = [
    "READERS",
    "DatasetError",
    "Fault",
    "Manifest",
    "ReadOptions",
    "Sample",
    "Study",
    "group_studies",
    "keep_views",
    "read_dataset",
    "read_manifest",
    "summary",
    "write_manifest",
]
