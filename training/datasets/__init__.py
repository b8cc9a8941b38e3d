"""Datasets on disk to one Manifest: readers, views, studies; what is bad is listed and left out.

cells.py           cells of a table
chexpert.py        CheXpert, at full size or small
chexpert_files.py  tables and images of CheXpert in each layout
chexpert_plus.py   CheXpert Plus
faults.py          faults found in a dataset
folder.py          a folder with a CSV
labels.py          labels to targets
make_splits.py     making splits
manifest.py        the manifest of a dataset
manifest_files.py  a manifest on disk
mimic.py           MIMIC-CXR
nih.py             NIH ChestX-ray14 (Wang et al.)
options.py         options of the dataset readers
published_counts.py  counts of images and labels that the papers give
read.py            reading any dataset by its specification `kind:path`
sample.py          one image with its labels
patients.py        salted hashes of the patients of a bundle
pictures.py        what the published files of each dataset went through
samples.py         protocol of the images that a fit reads, from any source
split.py           the split into training, validation and test
studies.py         studies as samples
table.py           CSV tables, plain or gzipped
views.py           views of an image: frontal or lateral
"""

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
