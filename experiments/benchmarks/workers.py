"""Implementations under test, each in a process of its own: their slices of time interleave, their memory does not mix.

A build function is named by `module:function` and called in the new process; it returns `(facts, run, finish)`: what is
known once it is ready, `run(count)`, which does `count` steps and waits for them, and `finish()`, what is known at the end.
While one worker runs a slice the others wait at their pipe.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import resource
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

MEGA = 1e6


class WorkerError(RuntimeError):
    """An implementation that failed; the message is its own first line."""


class Worker:
    """`build(**options)` in a fresh process. Use it as a context manager; `facts` is there once the build is done."""

    def __init__(self, build: str, **options: Any) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would copy jax's threads in an unusable state
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, build, options), daemon=True)
        self._process.start()
        theirs.close()
        try:
            self.facts: dict[str, Any] = self._answer()
        except BaseException:
            self.close()
            raise

    def _answer(self) -> Any:
        try:
            kind, value = self._pipe.recv()
        except EOFError:
            self._process.join(10)
            raise WorkerError(f"the process ended with status {self._process.exitcode}") from None
        if kind == "error":
            raise WorkerError(value)
        return value

    def _ask(self, question: Any) -> Any:
        with suppress(BrokenPipeError):  # where the process is gone, the answer says how
            self._pipe.send(question)
        return self._answer()

    def slice(self, count: int) -> tuple[float, float]:
        """Seconds per step over `count` steps, by the clock and of all cores' work."""
        return self._ask(count)

    def finish(self) -> dict[str, Any]:
        """What is known at the end, with the process's peak memory; the worker is done."""
        return self._ask(None)

    def close(self) -> None:
        """End the process."""
        self._pipe.close()
        self._process.join(10)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _serve(pipe: Any, build: str, options: Mapping[str, Any]) -> None:
    """The life of a worker: build, then a slice for every number that comes in, and the end for None."""
    try:
        module, _, name = build.partition(":")
        facts, run, finish = getattr(importlib.import_module(module), name)(**options)
        built = peak_rss()
        reset_peak_rss()
        pipe.send(("ready", {**facts, "rss_built_mb": built}))
        while (count := pipe.recv()) is not None:
            start, work = time.perf_counter(), time.process_time()
            run(count)
            pipe.send(("slice", ((time.perf_counter() - start) / count, (time.process_time() - work) / count)))
        pipe.send(("done", {**finish(), "rss_mb": peak_rss()}))
    except EOFError:
        pass  # whoever asked has gone
    except Exception as error:
        text = str(error).strip().splitlines() or [""]
        pipe.send(("error", f"{type(error).__name__}: {text[0][:300]}"))


def peak_rss() -> float:
    """The most memory (MB) that this process has held since its start, or since `reset_peak_rss`."""
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            return next(int(line.split()[1]) * 1024 / MEGA for line in file if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MEGA


def reset_peak_rss() -> None:
    """Forget the peak, where the system can: what compiling took is not what stepping takes."""
    with suppress(OSError), open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write("5")


@contextmanager
def environment(**values: str) -> Iterator[None]:
    """Variables set for the processes started inside."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
