"""`cxrserve models import`: published weights become a bundle that serves."""

from __future__ import annotations


def import_() -> None:
    """Make a bundle from published weights."""
