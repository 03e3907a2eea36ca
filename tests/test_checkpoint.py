"""Checkpoints: to the bit and back, two latest and the best, cut short, disk full, weights alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from medjax.checkpoint import Checkpoints, load_into, parse_best
from medjax.state import Net, copy, new_state, warm_start
from medjax.types import CheckpointError

TX = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3))


def state_at(step, width=4, ema=True, seed=None):
    """A state with an EMA, statistics, an optimiser's state and an extra; every array random."""
    rng = np.random.default_rng(step if seed is None else seed)
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)
    nets = {}
    for name in ("generator", "discriminator"):
        params = {"conv": {"kernel": draw(3, width), "bias": draw(width)}, "gamma": draw()}
        opt_state = jax.tree.map(lambda x: draw(*x.shape) if x.dtype == jnp.float32 else x + step, TX.init(params))
        nets[name] = Net(params, {"batch_stats": {"mean": draw(width)}}, opt_state)
    nets["discriminator"] = nets["discriminator"]._replace(stats={})
    made = new_state(nets, pool={"images": draw(2, 3), "used": jnp.asarray(step, jnp.int32)})
    if ema:
        made = made._replace(ema={"generator": copy((draw(1), {"batch_stats": {"mean": draw(width)}}))})
        made = made._replace(
            ema={"generator": (jax.tree.map(lambda x: draw(*x.shape), nets["generator"].params), made.ema["generator"][1])}
        )
    return made._replace(step=jnp.asarray(step, jnp.int32))


def assert_same(one, two):
    assert jax.tree.structure(one) == jax.tree.structure(two)
    for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(one), jax.tree.leaves(two), strict=True):
        assert a.dtype == b.dtype, path
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b), err_msg=jax.tree_util.keystr(path))


def test_a_validation_without_the_score_of_the_best_is_told(tmp_path):
    """As an AUC of validation images of one class alone."""
    with Checkpoints(tmp_path, best="auc:max") as checkpoints:
        checkpoints.save(state_at(1), {"auc": 0.7, "loss": 2.0})
        with pytest.warns(UserWarning, match="validation gave no auc at step 2, so that checkpoint cannot be the best"):
            checkpoints.save(state_at(2), {"loss": 1.0})
        assert checkpoints.best_step() == 1 and checkpoints.steps() == [1, 2]


@pytest.mark.parametrize("ema", [True, False])
def test_a_state_comes_back_to_the_bit(tmp_path, ema):
    state = state_at(7, ema=ema)
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.restore(state) is None
        checkpoints.save(state)
        checkpoints.save(state)  # the same step again: nothing happens
    with Checkpoints(tmp_path) as checkpoints:
        assert_same(state, checkpoints.restore(state_at(0, ema=ema)))
        assert checkpoints.steps() == [7]


def test_inference_reads_the_average(tmp_path):
    state = state_at(3)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state)
        step, weights = checkpoints.weights()
    assert step == 3
    params, stats = weights["generator"]
    np.testing.assert_array_equal(params["conv"]["kernel"], state.ema["generator"][0]["conv"]["kernel"])
    np.testing.assert_array_equal(stats["batch_stats"]["mean"], state.ema["generator"][1]["batch_stats"]["mean"])
    np.testing.assert_array_equal(weights["discriminator"][0]["gamma"], state.nets["discriminator"].params["gamma"])
    assert all(isinstance(x, np.ndarray) for x in jax.tree.leaves(weights))


@pytest.mark.parametrize("best, kept", [("psnr:max", 2), ("psnr:min", 4)])
def test_the_two_latest_and_the_best_are_kept(tmp_path, best, kept):
    scores = {1: 20.0, 2: 30.0, 3: 25.0, 4: 10.0, 5: 15.0, 6: None, 7: None}
    with Checkpoints(tmp_path, best=best) as checkpoints:
        for step, psnr in scores.items():
            checkpoints.save(state_at(step), None if psnr is None else {"psnr": psnr, "ssim": 0.5})
        assert checkpoints.steps() == [kept, 6, 7] and checkpoints.best_step() == kept
        assert checkpoints.weights("latest")[0] == 7
    with Checkpoints(tmp_path, best=best, read_only=True) as checkpoints:
        assert checkpoints.best_step() == kept and checkpoints.weights("best")[0] == kept


def test_best_is_named_by_metric_and_direction():
    assert parse_best("g_loss:min") == ("g_loss", "min")
    with pytest.raises(CheckpointError, match="like 'psnr:max'.*not 'psnr'"):
        parse_best("psnr")


def truncate(folder):
    """Cut every data file of a checkpoint to half its length, as a full disk or a copy cut short leaves it."""
    cut = 0
    for path in folder.rglob("*"):
        if path.is_file() and path.parent.name == "d" and path.stat().st_size:
            os.truncate(path, path.stat().st_size // 2)
            cut += 1
    assert cut


def saved(tmp_path, *steps):
    with Checkpoints(tmp_path) as checkpoints:
        for step in steps:
            checkpoints.save(state_at(step))


def test_a_checkpoint_cut_short_falls_back_to_the_one_before(tmp_path):
    saved(tmp_path, 4, 8)
    truncate(tmp_path / "checkpoints" / "8")
    with Checkpoints(tmp_path) as checkpoints:
        with pytest.warns(UserWarning, match="checkpoint of step 8 cannot be read.*the one before is used"):
            found = checkpoints.restore(state_at(0))
        assert_same(found, state_at(4))
        assert checkpoints.steps() == [4] and (tmp_path / "unreadable_checkpoint_8").is_dir()
        checkpoints.save(state_at(8, seed=1))  # the run goes on and reaches that step again
        assert_same(checkpoints.restore(state_at(0)), state_at(8, seed=1))


def test_inference_falls_back_too_and_moves_nothing(tmp_path):
    saved(tmp_path, 4, 8)
    truncate(tmp_path / "checkpoints" / "8")
    told = pytest.warns(UserWarning, match="checkpoint of step 8 cannot be read")
    with Checkpoints(tmp_path, read_only=True) as checkpoints, told:
        step, weights = checkpoints.weights()
    assert step == 4 and (tmp_path / "checkpoints" / "8").is_dir()
    np.testing.assert_array_equal(weights["generator"][0]["gamma"], state_at(4).ema["generator"][0]["gamma"])


def test_no_readable_checkpoint_is_an_error_not_a_fresh_start(tmp_path):
    saved(tmp_path, 4)
    truncate(tmp_path / "checkpoints" / "4")
    for _ in range(2):  # the same again the next time: nothing was moved away that would let a run start afresh
        with Checkpoints(tmp_path) as checkpoints, pytest.raises(CheckpointError, match="no checkpoint in .* can be read"):
            checkpoints.restore(state_at(0))


def test_a_checkpoint_of_another_architecture_is_named_and_left_alone(tmp_path):
    saved(tmp_path, 4)
    with (
        Checkpoints(tmp_path) as checkpoints,
        pytest.raises(CheckpointError, match=r"another architecture: .*'bias'.* is .4,. there"),
    ):
        checkpoints.restore(state_at(0, width=6))
    assert (tmp_path / "checkpoints" / "4").is_dir()


def test_weights_alone_serve_prediction_and_warm_start_but_no_resume(tmp_path):
    saved(tmp_path, 4)
    shutil.rmtree(tmp_path / "checkpoints" / "4" / "training")
    with Checkpoints(tmp_path) as checkpoints:
        step, weights = checkpoints.weights()
        with pytest.raises(CheckpointError, match="weights alone: start from it with config.init_from"):
            checkpoints.restore(state_at(0))
    moved = warm_start(state_at(0), weights, origin="there")
    expected = state_at(4).ema["generator"][0]
    for found in (
        moved.nets["generator"].params,
        moved.ema["generator"][0],
        load_into(state_at(0), weights, origin="there").nets["generator"].params,
    ):
        assert_same(found, expected)
    np.testing.assert_array_equal(
        jax.tree.leaves(moved.nets["generator"].opt_state)[1], jax.tree.leaves(state_at(0).nets["generator"].opt_state)[1]
    )


def test_no_checkpoint_says_how_to_get_one(tmp_path):
    with Checkpoints(tmp_path) as checkpoints, pytest.raises(CheckpointError, match="has no checkpoint: train it first"):
        checkpoints.weights()


def test_load_into_names_what_is_missing():
    with pytest.raises(CheckpointError, match="there has no net called 'discriminator'; it has generator"):
        load_into(state_at(0), {"generator": (state_at(1).nets["generator"].params, {})}, origin="there")


FULL_DISK = """
import resource, signal, sys
sys.path.insert(0, sys.argv[2])
from test_checkpoint import state_at
from medjax.checkpoint import Checkpoints
from medjax.types import CheckpointError
with Checkpoints(sys.argv[1]) as checkpoints:
    checkpoints.save(state_at(4, width=4096))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20000, resource.RLIM_INFINITY))
    try:
        checkpoints.save(state_at(8, width=4096))
    except CheckpointError as error:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        print("SENTENCE", error)
        print("KEPT", checkpoints.steps())
"""


def test_a_full_disk_keeps_the_last_good_checkpoint(tmp_path):
    """Files may not grow beyond 20 kB in the child: the write of step 8 fails as on a full disk."""
    here = os.path.dirname(__file__)
    child = subprocess.run([sys.executable, "-c", FULL_DISK, str(tmp_path), here], capture_output=True, text=True, timeout=120)
    assert "the checkpoint of step 8 could not be written" in child.stdout, child.stdout + child.stderr
    assert "the last good one is of step 4" in child.stdout and "KEPT [4]" in child.stdout
    with Checkpoints(tmp_path) as checkpoints:
        assert_same(checkpoints.restore(state_at(0, width=4096)), state_at(4, width=4096))
        checkpoints.save(state_at(8, width=4096))
        assert checkpoints.steps() == [4, 8]
