"""Torch with one thread: beside other work, threads that wait for each other cost more than they bring."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
