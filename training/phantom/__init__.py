"""Phantom chest radiographs: drawn from a seed, with labels and the place of every finding."""

from training.phantom.files import write_dicom, write_jpeg, write_phantoms
from training.phantom.phantom import Phantom, finding_names, make_phantom

__all__ = ["Phantom", "finding_names", "make_phantom", "write_dicom", "write_jpeg", "write_phantoms"]
