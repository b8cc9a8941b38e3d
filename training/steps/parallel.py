"""Tasks side by side, each in a process of its own, whose progress is shown here.

A new process for each task: its peak of memory is the task's alone, and one that is killed ends no other.
"""

from __future__ import annotations

import os
import pickle
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, TypeVar

from training.steps.progress import Bar, Progress
from training.subprocesses import end_with_parent

Item = TypeVar("Item")


class TaskFailed(RuntimeError):
    """A process that ended without a result: it was killed, or ran out of memory."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """A function of a module, and its arguments; it gets a `Progress` as its last one."""

    function: Callable[..., None]
    arguments: tuple[Any, ...]


def run_tasks(tasks: Sequence[Task], at_once: int, progress: Progress) -> None:
    """Run all tasks, `at_once` at a time.

    Raises:
        TaskFailed: a process died.
        Exception: the first one that a task raised; the other processes are ended.
    """
    # spawn: a forked child of a process that has run torch may hang in its thread pool.
    context = get_context("spawn")
    waiting = list(reversed(tasks))
    running: dict[Connection, tuple[SpawnProcess, dict[int, Bar]]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                receiver, sender = context.Pipe(duplex=False)
                process = context.Process(target=_work, args=(waiting.pop(), sender, os.getpid()))
                process.start()
                sender.close()
                running[receiver] = process, {}
            for ready in wait(list(running)):
                assert isinstance(ready, Connection)
                process, bars = running[ready]
                if _receive(ready, process, bars, progress):
                    process.join()
                    del running[ready]
    finally:
        for process, _ in running.values():
            process.kill()
        for process, _ in running.values():
            process.join()


def _receive(receiver: Connection, process: SpawnProcess, bars: dict[int, Bar], progress: Progress) -> bool:
    """Handle one message; true if it was the task's last."""
    try:
        kind, *content = receiver.recv()
    except EOFError:
        process.join()
        raise TaskFailed(
            f"a process that trains ended with {process.exitcode}, perhaps for lack of memory; start again "
            "to continue, with fewer --workers if it happens again"
        ) from None
    match kind:
        case "bar":
            number, what, total = content
            bars[number] = progress.bar(what, total)
        case "update":
            number, completed, note, total = content
            bars[number].update(completed, note, total)
        case "say":
            progress.say(content[0])
        case "failed":
            raise content[0]
    return bool(kind == "done")


def _work(task: Task, sender: Connection, parent: int) -> None:
    end_with_parent(parent)
    try:
        task.function(*task.arguments, PipedProgress(sender))
    except Exception as error:
        error.add_note(traceback.format_exc())
        sender.send(
            ("failed", error if _can_travel(error) else TaskFailed(f"{type(error).__name__}: {error}"))
        )
    else:
        sender.send(("done",))
    sender.close()
    sys.stdout.flush()
    sys.stderr.flush()
    # Everything is on the disk. An ordinary exit waits for the threads of torch and its libraries, and was
    # seen to wait for ever.
    os._exit(0)


def _can_travel(error: Exception) -> bool:
    """Whether the error can be pickled for another process."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301
    except Exception:
        return False
    return True


class PipedProgress:
    """Progress that is sent to another process."""

    def __init__(self, sender: Connection) -> None:
        self._sender = sender
        self._bars = 0

    def track(self, steps: Iterable[Item], what: str, total: int) -> Iterable[Item]:
        """Yield each of `steps` and count it in a bar of `total`."""
        bar = self.bar(what, total)
        for completed, step in enumerate(steps, 1):
            yield step
            bar.update(completed)

    def bar(self, what: str, total: int) -> PipedBar:
        """A new bar, in the other process."""
        self._bars += 1
        self._sender.send(("bar", self._bars, what, total))
        return PipedBar(self._sender, self._bars)

    def say(self, message: str) -> None:
        """Print `message` in the other process."""
        self._sender.send(("say", message))


class PipedBar:
    """A bar that another process shows."""

    def __init__(self, sender: Connection, number: int) -> None:
        self._sender, self._number = sender, number

    def update(self, completed: int, note: str = "", total: int | None = None) -> None:
        """Show `completed` steps."""
        self._sender.send(("update", self._number, completed, note, total))
