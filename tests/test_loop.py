"""The loop and its hooks, on a method of three numbers."""

from __future__ import annotations

import os
import signal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from medjax.loop import Log, Patience, Stopper, check_state, fit
from medjax.models.conv import Conv
from medjax.objective import Objective, Player
from medjax.objectives import supervised
from medjax.state import Net, new_state
from medjax.types import ConfigError, NonFiniteError
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


# --------------------------------------------------------------------------------------------- several steps in a call


class Smoother(nn.Module):
    """Two convolutions around a kink, at the precision of what they are given."""

    @nn.compact
    def __call__(self, x, train=False):
        return Conv(1, 3, name="last")(nn.relu(Conv(6, 3, name="first")(x)))


def network(dtype):
    """The method of that network under Adam, with its state at `dtype`."""
    objective = supervised(Player(Smoother(), optax.adam(1e-2)))
    state = jax.jit(objective.init)(KEY, next(images(0)))
    cast = lambda x: x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else jnp.array(x)
    return objective, jax.tree.map(cast, state)


def images(start):
    """Batches of noise and what lies under it; each a function of its number."""
    while True:
        rng = np.random.default_rng(start)
        target = np.repeat(rng.uniform(-0.5, 0.5, (2, 8, 1, 1)), 8, 2).astype(np.float32)
        noise = 0.2 * rng.standard_normal(target.shape, dtype=np.float32)
        yield {"source": target + noise, "target": target, "index": np.arange(2, dtype=np.int32)}
        start += 1


@pytest.mark.parametrize("dtype, most", [(np.float64, 1e-9), (np.float32, 1e-4)])
def test_eight_steps_in_a_call_are_eight_steps(dtype, most):
    """48 of them; in float64 every parameter, in float32 the loss, since XLA compiles the body of a scan otherwise."""
    with jax.enable_x64(dtype is np.float64):
        found = []
        for size in (1, 8):
            losses = []
            objective, state = network(dtype)
            hook = lambda step, state, metrics, seen=losses: seen.extend(np.ravel(metrics["g_loss"]))
            state = fit(objective, state, images, KEY, 48, hooks=[(1, hook)], steps_per_call=size)
            found.append((losses, jax.device_get(state)))
    (single, one), (called, eight) = found
    assert len(single) == len(called) == 48 and single[-1] < 0.5 * single[0]
    np.testing.assert_allclose(called, single, rtol=0, atol=most)
    if dtype is np.float64:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=most, atol=most), eight, one)


def test_hooks_of_calls_see_every_steps_values():
    """Two steps in a call, an odd number of them, and one call that is cut short by the end."""
    seen, whole = [], []
    objective = toy()
    hooks = [(1, lambda step, state, metrics: seen.append((step, np.asarray(metrics["gap"]))))]
    state = fit(objective, begin(objective), batches, KEY, 7, hooks=hooks, steps_per_call=2)
    assert [step for step, _ in seen] == [2, 4, 6, 7] and [len(gap) for _, gap in seen] == [2, 2, 2, 1]
    single = [(1, lambda step, state, metrics: whole.append(float(metrics["gap"])))]
    alone = fit(objective, begin(objective), batches, KEY, 7, hooks=single)
    np.testing.assert_allclose(np.concatenate([gap for _, gap in seen]), whole, rtol=1e-6)
    np.testing.assert_allclose(*(s.nets["w"].params["w"] for s in (state, alone)), rtol=1e-6)


def test_calls_resume_to_the_bit_and_stop_at_their_end():
    objective = toy()
    fit_in = lambda state, steps, **options: fit(objective, state, batches, KEY, steps, steps_per_call=4, **options)
    whole = fit_in(begin(objective), 12)
    with Stopper() as stopper:
        send = (4, lambda step, *_: os.kill(os.getpid(), signal.SIGTERM))
        part = fit_in(begin(objective), 12, hooks=[send, (1, stopper)])
        assert int(part.step) == 4
    np.testing.assert_array_equal(*(s.nets["w"].params["w"] for s in (whole, fit_in(part, 12))))


def test_what_is_resident_is_passed_once():
    """The body sees it whole in every step; nothing is stacked of it."""

    def feed(start):
        for value in range(start, 100):
            yield {"slot": np.int32(value % 3), "resident": {"values": table}}

    table, plain = jnp.arange(3.0), toy()
    looked = lambda batch: {"value": batch["resident"]["values"][batch["slot"]]}
    objective = plain._replace(step=lambda state, batch, key: plain.step(state, looked(batch), key))
    found = [fit(objective, begin(plain), feed, KEY, 6, steps_per_call=n).nets["w"].params["w"] for n in (1, 3)]
    np.testing.assert_allclose(*found, rtol=1e-6)


def test_a_log_of_calls_writes_and_names_their_own_steps(tmp_path):
    def run(folder, objective, steps):
        with Writer(folder, tensorboard=False) as writer:
            log = Log(writer, every=4, batch_size=4, start=0, num_steps=steps, progress=False)
            try:
                fit(objective, begin(objective), batches, KEY, steps, hooks=[(1, log)], steps_per_call=4)
                log.flush()
            finally:
                log.close()

    run(tmp_path / "calls", toy(), 8)
    logged(tmp_path / "single", toy(), 8, 4)
    rows = [read_metrics(tmp_path / name) for name in ("calls", "single")]
    assert [row["step"] for row in rows[0]] == [row["step"] for row in rows[1]] == [4, 8]
    np.testing.assert_allclose(*([row["gap"] for row in r] for r in rows), rtol=1e-6)
    with pytest.raises(NonFiniteError, match="gap is nan at step 6"):
        run(tmp_path / "bad", toy(bad_at=6), 12)


def test_nothing_is_due_within_a_call(tiny):
    from medjax.build import checks

    objective = toy()
    for size, period, told in ((0, 4, "at least 1, not 0"), (4, 6, "hook is 6, which is no multiple of steps_per_call, 4")):
        with pytest.raises(ConfigError, match=told):
            fit(objective, begin(objective), batches, KEY, 12, hooks=[(period, lambda *_: None)], steps_per_call=size)
    for words, told in (
        (("train.steps_per_call=0",), "config.train.steps_per_call must be at least 1, not 0"),
        (("train.steps_per_call=8", "train.log_every=20"), "config.train.log_every is 20, .*config.train.steps_per_call, 8"),
        (("train.steps_per_call=2", "train.log_every=2", "train.save_every=5"), "config.train.save_every is 5"),
    ):
        with pytest.raises(ConfigError, match=told):
            checks.periods(tiny(*words))
    checks.periods(tiny("train.steps_per_call=2", "train.log_every=0"))


def test_the_same_bits_are_refused_where_xla_was_not_told(tiny, monkeypatch):
    from medjax.build import checks

    config = tiny("train.deterministic=True")
    checks.deterministic(config)  # a CPU gives them anyway
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setenv("XLA_FLAGS", "")
    with pytest.raises(ConfigError, match="XLA_FLAGS=--xla_gpu_deterministic_ops=true set before the start"):
        checks.deterministic(config)
    monkeypatch.setenv("XLA_FLAGS", "--xla_gpu_deterministic_ops=true")
    checks.deterministic(config)
