"""The only training loop, and the hooks that watch it.

A hook is `(period, function)`; `function(step, state, metrics)` is called after every `period`-th step and after the
last one (period 0: never), and stops the run by returning True. Hooks run in their order: log before evaluate before save.
With several steps in a call they run after a call: `step` is its last, and `metrics` are `[K]`, those of its steps.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from medjax import processes
from medjax.objective import Metrics, Objective, train_step, train_steps
from medjax.state import TrainState
from medjax.types import RESIDENT, Batch, Batches, ConfigError, Key, NonFiniteError
from medjax.writers import Writer

Hook = Callable[[int, TrainState, Metrics], bool | None]


def fit(
    objective: Objective,
    state: TrainState,
    batches: Batches,
    key: Key,
    num_steps: int,
    *,
    hooks: Sequence[tuple[int, Hook]] = (),
    steps_per_call: int = 1,
    compiler_options: Mapping[str, str] | None = None,
) -> TrainState:
    """Train from `state.step` to `num_steps` on `batches(start)`. The state given is donated: use the one returned.

    steps_per_call: steps that the device takes in one call, up to multiples of it. Raises ConfigError where it is below 1, or a
    hook is due within a call (both numbers).
    """
    check_periods([("the period of a hook", period) for period, _ in hooks if period > 1], steps_per_call)
    method = train_step if steps_per_call == 1 else train_steps
    step_fn = jax.jit(method(objective), donate_argnums=0, compiler_options=compiler_options)
    for done, batch in _calls(batches, int(state.step), num_steps, steps_per_call):
        state, metrics = step_fn(state, batch, key)  # the only line that knows any method
        due = [hook for period, hook in hooks if period and (done % period == 0 or done == num_steps)]
        if any([hook(done, state, metrics) for hook in due]):  # a list: every hook runs
            break
    return state


def _calls(batches: Batches, start: int, num_steps: int, size: int) -> Iterator[tuple[int, Batch]]:
    """(the step after which it ends, its batch) of every call; with a `size` above 1 batches are stacked."""
    if size == 1:
        yield from zip(range(start + 1, num_steps + 1), batches(start), strict=False)
        return
    iterator = batches(start)
    while start < num_steps and (parts := list(islice(iterator, min(size - start % size, num_steps - start)))):
        start += len(parts)
        stack = lambda name, parts=parts: np.stack([part[name] for part in parts])  # noqa: E731
        yield start, {name: value if name == RESIDENT else stack(name) for name, value in parts[0].items()}


def check_periods(periods: Iterable[tuple[str, int]], steps_per_call: int, name: str = "steps_per_call") -> None:
    """Raises ConfigError where one of `periods`, (what is due, every how many steps), falls within a call."""
    if steps_per_call < 1:
        raise ConfigError(f"{name} must be at least 1, not {steps_per_call}")
    for what, period in periods:
        if period % steps_per_call:
            raise ConfigError(f"{what} is {period}, which is no multiple of {name}, {steps_per_call}")


def rematerialising() -> dict[str, str] | None:
    """The `compiler_options` of a step whose networks compute blocks again: on a CPU, XLA drops the barriers that hold what is
    computed again apart from what was computed before, merges the two, and saves nothing.
    """
    return {"xla_disable_hlo_passes": "cse_barrier_expander"} if jax.default_backend() == "cpu" else None


class Log:
    """Checks every step's terms for finiteness and writes every `every`-th step's row: its own values, not a mean,
    so that a resumed run writes the same numbers. Call it with period 1.
    """

    def __init__(self, writer: Writer, *, every: int, batch_size: int, start: int, num_steps: int, progress: bool = True):
        self.writer, self.every, self.batch_size = writer, every, batch_size
        self._pending: list[tuple[int, Metrics]] = []
        self._bar = tqdm(total=num_steps, initial=start, disable=not progress, unit="step", dynamic_ncols=True)
        self._clock, self._last, self._off = time.perf_counter(), start, 0.0

    def __call__(self, step: int, state: TrainState, metrics: Metrics) -> None:
        self._pending.append((step, metrics))
        if len(self._pending) >= 100 or (self.every and step % self.every == 0):
            self.flush()

    def flush(self) -> None:
        """Fetch what is pending; raises NonFiniteError naming the first bad step and term."""
        rows, self._pending = jax.device_get(self._pending), []
        for step, values in chain.from_iterable(_steps_of(*row) for row in rows):
            for name, value in values.items():
                if not np.all(np.isfinite(value)):
                    raise NonFiniteError(
                        f"{name} is {float(np.asarray(value).reshape(-1)[0])} at step {step}; "
                        "the last good checkpoint is kept (a lower learning rate or float32 often helps)"
                    )
            if self.every and step % self.every == 0:
                self._write(step, values)

    def _write(self, step: int, values: Mapping[str, Any]) -> None:
        seconds = time.perf_counter() - self._clock - self._off
        rate = (step - self._last) * self.batch_size / max(seconds, 1e-9)
        self.writer.scalars(step, "train", values, {"images_per_second": rate, "seconds_per_step": self.batch_size / rate})
        shown = {name: f"{float(v):.4g}" for name, v in values.items() if name.endswith("loss")}
        self._bar.update(step - self._last)
        self._bar.set_postfix({"images/s": f"{rate:.1f}", **shown})
        self._clock, self._last, self._off = time.perf_counter(), step, 0.0

    def off_clock(self, hook: Hook) -> Hook:
        """`hook` with its time left out of images/s and of the seconds per step."""

        def run(step: int, state: TrainState, metrics: Metrics) -> bool | None:
            self.flush()
            begun = time.perf_counter()
            try:
                return hook(step, state, metrics)
            finally:
                self._off += time.perf_counter() - begun

        return run

    def close(self) -> None:
        """End the progress bar."""
        self._bar.close()


class Stopper:
    """Turns SIGTERM and Ctrl-C into a clean stop after the current step; a second signal acts as usual.

    Use as a context manager and as a hook of period 1; `signal_number` tells afterwards (0: none came). Of several processes
    all stop after the same step when one of them gets SIGTERM, which jax then listens for; Ctrl-C acts as usual.
    """

    def __init__(self) -> None:
        self.signal_number = 0
        self._previous: dict[int, Any] = {}

    def __call__(self, step: int, state: TrainState, metrics: Metrics) -> bool:
        if processes.must_stop(step):
            self.signal_number = signal.SIGTERM
        return bool(self.signal_number)

    def _handle(self, number: int, frame: object) -> None:
        self.signal_number = number
        signal.signal(number, self._previous[number])

    def __enter__(self) -> Stopper:
        for number in () if processes.several() else (signal.SIGTERM, signal.SIGINT):
            self._previous[number] = signal.getsignal(number)
            signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)


class Patience:
    """Ends a run whose validation score has not been bettered by the last `patience` validations (Prechelt 1998).

    scores: the values of the last validation, `{"step", name: value}`; history: (step, value) of the validations before this
    hook began, so that a resumed run ends where the unbroken one would have. Call it after each validation; `stopped` tells
    the rest, None while the run goes on.
    """

    def __init__(
        self, scores: Callable[[], Mapping[str, float]], *, metric: str, mode: str, patience: int, history: Sequence[tuple] = ()
    ) -> None:
        self._scores, self.metric, self._sign, self.patience = scores, metric, 1 if mode == "max" else -1, patience
        self.best: tuple[int, float] | None = None
        self.waited, self.stopped = 0, None
        for step, value in history:
            self._see(int(step), float(value))

    def _see(self, step: int, value: float) -> None:
        better = self.best is None or self._sign * (value - self.best[1]) > 0
        self.best, self.waited = ((step, value), 0) if better else (self.best, self.waited + 1)
        if self.patience and self.waited >= self.patience:
            self.stopped = f"{self.metric} was best at step {self.best[0]} ({self.best[1]:.4g}); ended early at step {step}"

    def __call__(self, step: int, state: TrainState, metrics: Metrics) -> bool:
        scores = self._scores()
        if scores.get("step") == step and self.metric in scores:
            self._see(step, float(scores[self.metric]))
        return self.stopped is not None


def _steps_of(last: int, values: Metrics) -> Iterator[tuple[int, Metrics]]:
    """(step, its values) of every step of a call that ended with step `last`."""
    counts = {np.size(value) for value in values.values() if np.ndim(value) == 1}
    if not counts:
        yield last, values
        return
    (count,) = counts
    for i in range(count):
        yield last - count + 1 + i, {name: value[i] for name, value in values.items()}


@jax.jit
def all_finite(state: TrainState) -> jax.Array:
    """Whether every floating array of the state is finite."""
    leaves = [x for x in jax.tree.leaves(state) if jnp.issubdtype(x.dtype, jnp.floating)]
    return jnp.stack([jnp.isfinite(x).all() for x in leaves]).all()


def check_state(step: int, state: TrainState) -> None:
    """Raises NonFiniteError where any array is not finite, so that such a state is never saved."""
    if not bool(all_finite(state)):
        bad = next(
            jax.tree_util.keystr(path)
            for path, x in jax.tree_util.tree_leaves_with_path(state)
            if jnp.issubdtype(x.dtype, jnp.floating) and not bool(jnp.isfinite(x).all())
        )
        raise NonFiniteError(f"the state is not finite after step {step} (first: {bad}); it was not saved")
