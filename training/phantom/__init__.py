"""Phantom chest radiographs: drawn from a seed, with labels and the location of every finding.

canvas.py    canvas of a phantom
chest.py     the normal chest of a phantom
files.py     phantoms as files
phantom.py   one phantom
pyramids.py  a few phantoms as a network sees them
scene.py     scene of a phantom
signs.py     the signs of each finding, and their look-alikes in images without it
"""

from training.phantom.files import write_dicom, write_jpeg, write_phantoms
from training.phantom.phantom import Phantom, finding_names, make_phantom

__all__ = ["Phantom", "finding_names", "make_phantom", "write_dicom", "write_jpeg", "write_phantoms"]
