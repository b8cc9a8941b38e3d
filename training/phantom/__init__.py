"""Phantom chest radiographs: drawn from a seed, with labels and the place of every finding."""

from training.phantom.phantom import Phantom, finding_names, make_phantom

__all__ = ["Phantom", "finding_names", "make_phantom"]
