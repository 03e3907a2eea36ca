"""The loop and its hooks, on a method of three numbers."""

from __future__ import annotations

import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.loop import Log, Patience, Stopper, check_state, fit
from medjax.objective import Objective
from medjax.state import Net, new_state
from medjax.types import NonFiniteError
from medjax.writers import Writer, read_metrics

pytestmark = pytest.mark.usefixtures("quick_compile")

KEY = jax.random.key(0)


def toy(calls=None, bad_at=None):
    """w moves to the batch's value with noise; its gap is not a number from step `bad_at` on."""

    def step(state, batch, key):
        if calls is not None:
            calls.append("traced")
        w = state.nets["w"].params["w"]
        w = w + 0.1 * (batch["value"] - w) + 0.01 * jax.random.normal(key, w.shape)
        gap = jnp.abs(batch["value"] - w).mean()
        if bad_at is not None:
            gap = jnp.where(state.step + 1 >= bad_at, jnp.nan, gap)
        return state._replace(nets={"w": Net({"w": w}, {}, ())}), {"fine": w.sum(), "gap": gap}

    def init(key, batch):
        return new_state({"w": Net({"w": jnp.zeros(3)}, {}, ())})

    return Objective(init, step, *[lambda state, batch, key: {}] * 3)


def batches(start):
    while True:
        yield {"value": np.float32(start)}
        start += 1


def begin(objective):
    return objective.init(KEY, None)


def test_hooks_are_called_at_their_period_and_at_the_end():
    seen = {name: [] for name in ("every", "third", "tenth")}
    hooks = [
        (n, lambda step, state, metrics, name=name: seen[name].append(step)) for name, n in zip(seen, (1, 3, 10), strict=True)
    ]
    objective = toy()
    state = fit(objective, begin(objective), batches, KEY, 7, hooks=hooks)
    assert seen == {"every": [1, 2, 3, 4, 5, 6, 7], "third": [3, 6, 7], "tenth": [7]}
    assert int(state.step) == 7


def test_a_hook_stops_the_run_after_the_others_have_run():
    seen, objective = [], toy()
    hooks = [(1, lambda step, *_: step == 3), (1, lambda step, *_: seen.append(step))]
    state = fit(objective, begin(objective), batches, KEY, 9, hooks=hooks)
    assert int(state.step) == 3 and seen == [1, 2, 3]


def test_compiles_once_however_it_starts():
    calls = []
    objective = toy(calls)
    state = jax.device_put(begin(objective))
    fit(objective, state, batches, KEY, 6)
    assert calls == ["traced"]


def test_two_halves_equal_the_whole_to_the_bit():
    objective = toy()
    whole = fit(objective, begin(objective), batches, KEY, 8)
    half = fit(objective, begin(objective), batches, KEY, 5)
    np.testing.assert_array_equal(*(s.nets["w"].params["w"] for s in (whole, fit(objective, half, batches, KEY, 8))))
    at_once = fit(objective, begin(objective), batches, jax.random.key(1), 8)
    assert not np.array_equal(whole.nets["w"].params["w"], at_once.nets["w"].params["w"])


def test_a_finished_run_takes_no_step():
    objective = toy()
    state = fit(objective, begin(objective), batches, KEY, 2)
    assert int(fit(objective, state, lambda start: iter(()), KEY, 2).step) == 2


def logged(tmp_path, objective, steps, every):
    with Writer(tmp_path, tensorboard=False) as writer:
        log = Log(writer, every=every, batch_size=4, start=0, num_steps=steps, progress=False)
        try:
            return fit(objective, begin(objective), batches, KEY, steps, hooks=[(1, log)])
        finally:
            log.close()


def test_log_writes_the_steps_own_values(tmp_path):
    """Not a mean over the period, or a resumed run would write other numbers."""
    logged(tmp_path / "all", toy(), 6, 1)
    logged(tmp_path / "some", toy(), 6, 3)
    plain = lambda rows: {r["step"]: r["gap"] for r in rows}
    every, third = (plain(read_metrics(tmp_path / name)) for name in ("all", "some"))
    assert list(third) == [3, 6] and list(every) == [1, 2, 3, 4, 5, 6]
    assert {k: every[k] for k in third} == third
    assert read_metrics(tmp_path / "some")[0]["time"]["images_per_second"] > 0


def test_the_first_bad_step_and_term_are_named(tmp_path):
    """Found at the next flush, yet named exactly; no later row is written."""
    with pytest.raises(NonFiniteError, match="gap is nan at step 5; the last good checkpoint is kept"):
        logged(tmp_path, toy(bad_at=5), 12, 4)
    assert [row["step"] for row in read_metrics(tmp_path)] == [4]


def test_time_off_the_clock_is_not_counted(tmp_path):
    with Writer(tmp_path, tensorboard=False) as writer:
        log = Log(writer, every=1, batch_size=1, start=0, num_steps=2, progress=False)
        import time

        slow = log.off_clock(lambda *_: time.sleep(0.5))
        log(1, None, {"loss": np.float32(1)})
        slow(1, None, {})
        log(2, None, {"loss": np.float32(1)})
        log.close()
    assert read_metrics(tmp_path)[1]["time"]["seconds_per_step"] < 0.25


def test_a_state_that_is_not_finite_is_named():
    state = begin(toy())
    check_state(3, state)
    bad = state._replace(nets={"w": Net({"w": jnp.array([0.0, jnp.inf, 0.0])}, {}, ())})
    with pytest.raises(NonFiniteError, match=r"not finite after step 3 \(first: .*'w'.*not saved"):
        check_state(3, bad)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_after_the_step_and_a_second_one_acts_as_usual(number):
    before = signal.getsignal(number)
    objective = toy()
    with Stopper() as stopper:
        send = (1, lambda step, *_: os.kill(os.getpid(), number) if step == 2 else None)
        state = fit(objective, begin(objective), batches, KEY, 9, hooks=[send, (1, stopper)])
        assert stopper.signal_number and int(state.step) == 2
        assert signal.getsignal(number) == before
    assert signal.getsignal(number) == before


def test_period_zero_means_never():
    calls = []
    objective = Objective(
        init=None, step=lambda state, batch, key: (state, {}), predict=None, sample=None, evaluate=None
    )
    state = new_state({})
    state = fit(objective, state, lambda start: iter([{}] * 9), KEY, 3, hooks=[(0, lambda *_: calls.append(1))])
    assert int(state.step) == 3 and not calls


def test_patience_ends_a_run_that_no_longer_gets_better_and_a_resumed_one_at_the_same_step():
    """Two validations without a lower loss than 3; equal is no better."""
    values = {2: 5.0, 4: 3.0, 6: 3.0, 8: 4.0, 10: 1.0}
    seen = {}

    def validate(step, state, metrics):
        seen.clear()
        seen.update(step=step, loss=values[step])

    def run(start, history):
        objective = toy()
        state = begin(objective)._replace(step=jnp.asarray(start, jnp.int32))
        patience = Patience(lambda: seen, metric="loss", mode="min", patience=2, history=history)
        state = fit(objective, state, batches, KEY, 10, hooks=[(2, validate), (2, patience)])
        return int(state.step), patience

    ended, patience = run(0, ())
    assert ended == 8 and patience.stopped == "loss was best at step 4 (3); ended early at step 8"
    assert run(6, [(2, 5.0), (4, 3.0), (6, 3.0)])[0] == 8
    assert Patience(dict, metric="loss", mode="min", patience=2, history=[(2, 5.0), (4, 3.0), (6, 3.0), (8, 4.0)]).stopped
    assert not Patience(dict, metric="psnr", mode="max", patience=2, history=[(1, 3.0), (2, 2.0), (3, 4.0)]).stopped
    assert not Patience(dict, metric="loss", mode="min", patience=0, history=[(i, 1.0) for i in range(9)]).stopped
