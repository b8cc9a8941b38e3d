"""`reading` from several threads: everybody inside is protected, and afterwards all is as it was before."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from pydicom import config

from cxrserve.errors import UnreadableImage
from cxrserve.imaging.foreign_errors import reading


def _settings() -> tuple[Any, ...]:
    """The settings of the process that `reading` changes."""
    modes = (config.settings.reading_validation_mode, config.settings.writing_validation_mode)
    return (*modes, logging.getLogger("pydicom").disabled, list(warnings.filters))


def _is_protected() -> bool:
    reading_mode, writing_mode, disabled, filters = _settings()
    return bool(reading_mode == writing_mode == config.IGNORE and disabled and filters[0][0] == "ignore")


def _start(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_two_overlapping_uses_are_both_protected_and_leave_nothing_behind() -> None:
    before = _settings()
    first_is_inside, first_may_leave = threading.Event(), threading.Event()

    def first() -> None:
        with reading("the file"):
            first_is_inside.set()
            first_may_leave.wait(10)

    thread = _start(first)
    assert first_is_inside.wait(10)
    with reading("the file"):  # entered second, left last
        assert _is_protected()
        first_may_leave.set()
        thread.join(10)
        assert _is_protected()
    assert _settings() == before


def test_many_threads_are_all_protected_and_leave_nothing_behind() -> None:
    before, unprotected = _settings(), []

    def read() -> None:
        for _ in range(300):
            with reading("the file"):
                if not _is_protected():
                    unprotected.append(_settings())

    threads = [_start(read) for _ in range(6)]
    for thread in threads:
        thread.join(30)
    assert not unprotected
    assert _settings() == before


def test_decoding_in_one_thread_does_not_wait_for_another() -> None:
    with reading("the file"):
        passed = threading.Event()

        def other() -> None:
            with reading("the file"):
                passed.set()

        thread = _start(other)
        assert passed.wait(10)
        thread.join(10)


def test_it_may_be_nested_and_ends_with_an_error() -> None:
    before = _settings()

    def nested() -> None:
        with reading("the outer"):
            with pytest.raises(UnreadableImage, match="the inner"), reading("the inner"):
                raise ValueError("a patient's name")
            assert _is_protected()
            raise KeyError("a patient's name")

    with pytest.raises(UnreadableImage, match="the outer"):
        nested()
    assert _settings() == before
