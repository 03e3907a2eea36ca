"""The only training loop, and the hooks that watch it.

A hook is `(period, function)`; `function(step, state, metrics)` is called after every `period`-th step and after the
last one (period 0: never), and stops the run by returning True. Hooks run in their order: log before evaluate before save.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from medjax.objective import Metrics, Objective, train_step
from medjax.state import TrainState
from medjax.types import Batches, Key, NonFiniteError
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
    compiler_options: Mapping[str, str] | None = None,
) -> TrainState:
    """Train from `state.step` to `num_steps` on `batches(start)`. The state given is donated: use the one returned."""
    step_fn = jax.jit(train_step(objective), donate_argnums=0, compiler_options=compiler_options)
    start = int(state.step)
    for i, batch in zip(range(start, num_steps), batches(start), strict=False):
        state, metrics = step_fn(state, batch, key)  # the only line that knows any method
        done = i + 1
        due = [hook for period, hook in hooks if period and (done % period == 0 or done == num_steps)]
        if any([hook(done, state, metrics) for hook in due]):  # a list: every hook runs
            break
    return state


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
        for step, values in rows:
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

    Use as a context manager and as a hook of period 1; `signal_number` tells afterwards (0: none came).
    """

    def __init__(self) -> None:
        self.signal_number = 0
        self._previous: dict[int, Any] = {}

    def __call__(self, step: int, state: TrainState, metrics: Metrics) -> bool:
        return bool(self.signal_number)

    def _handle(self, number: int, frame: object) -> None:
        self.signal_number = number
        signal.signal(number, self._previous[number])

    def __enter__(self) -> Stopper:
        for number in (signal.SIGTERM, signal.SIGINT):
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
