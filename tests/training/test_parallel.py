"""Tasks in processes of their own: progress, errors and deaths reach the parent, and none is waited for."""

from __future__ import annotations

import os
import threading
import time

import pytest

from tests.training.quiet import Quiet
from training.steps.parallel import Task, TaskFailed, run_tasks
from training.steps.progress import Progress


def counting(name: str, progress: Progress) -> None:
    for _ in progress.track(range(3), name, 3):
        pass
    progress.say(f"{name} is done in {os.getpid()}")


def failing(progress: Progress) -> None:
    raise ValueError("the loss is not finite")


def dying(progress: Progress) -> None:
    os._exit(9)


def lingering(progress: Progress) -> None:
    """Leaves a thread behind that an ordinary exit would wait for."""
    threading.Thread(target=time.sleep, args=(3600,)).start()


def test_each_task_has_a_process_of_its_own() -> None:
    progress = Quiet()
    run_tasks([Task(function=counting, arguments=(name,)) for name in ("one", "other")], 2, progress)
    lines = [line for line in progress.text.splitlines() if "is done in" in line]
    assert len({line.rpartition(" ")[2] for line in lines} | {str(os.getpid())}) == 3
    assert "one (3)" in progress.text


def test_what_a_task_raises_is_raised() -> None:
    with pytest.raises(ValueError, match="the loss is not finite"):
        run_tasks([Task(function=failing, arguments=())], 1, Quiet())


def test_a_process_that_dies_is_said() -> None:
    with pytest.raises(TaskFailed, match="ended with 9"):
        run_tasks([Task(function=dying, arguments=())], 1, Quiet())


def test_a_task_that_is_done_is_not_waited_for() -> None:
    run_tasks([Task(function=lingering, arguments=())], 1, Quiet())
