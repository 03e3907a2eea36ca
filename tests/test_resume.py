"""A run that was interrupted and resumed equals one that was not: every array, and every value in metrics.jsonl."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from conftest import QUIET
from helpers import crashed, leaves, values

from medjax import placement
from medjax.build import config as configs
from medjax.build import data as build_data
from medjax.build import networks, training
from medjax.checkpoint import Checkpoints
from medjax.cli import main
from medjax.types import CheckpointError, ConfigError, NonFiniteError

pytestmark = pytest.mark.usefixtures("quick_compile")


def assert_equals(state, workdir, unbroken):
    there, arrays, _ = unbroken
    found = leaves(state)
    assert found.keys() == arrays.keys()
    for name, value in arrays.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
    assert values(workdir) == values(there)


def resumed(tiny, long, workdir):
    said = []
    return training.train(tiny(*long), workdir, say=said.append), said


def test_the_run_has_what_could_break_it(unbroken, tiny, long):
    config = tiny(*long)
    assert config.generator.dropout == 0.5 and config.generator.norm == config.discriminator.norm == "batch"
    assert config.train.ema and config.data.threads == 2
    arrays = unbroken.arrays
    assert any(".ema" in k for k in arrays) and any("batch_stats" in k for k in arrays)
    assert sum("opt_state" in k for k in arrays) > 20


def test_a_crash_between_checkpoints(tiny, long, unbroken, tmp_path):
    """The crash is at step 7, the last checkpoint of step 4: rows 5 to 7 are written twice and kept once."""
    crashed(tiny(*long), tmp_path / "run", step=7)
    with open(tmp_path / "run" / "metrics.jsonl", "a") as file:
        file.write('{"step": 8, "split": "tra')  # a line cut off by the kill
    state, said = resumed(tiny, long, tmp_path / "run")
    assert said == ["resuming at step 4"]
    assert_equals(state, tmp_path / "run", unbroken)


def test_sigterm_saves_and_the_same_command_resumes(tiny, long, unbroken, tmp_path, monkeypatch, capsys):
    """In this process, at step 6 where no checkpoint is due: exit status 0 and a message that says how to go on."""
    log = training.Log.__call__

    def terminate(self, step, state, metrics):
        log(self, step, state, metrics)
        if step == 6:
            os.kill(os.getpid(), signal.SIGTERM)

    workdir = tmp_path / "run"
    argv = ["train", "--config=pix2pix_cxr:tiny", f"--workdir={workdir}", *(f"--config.{t}" for t in (*QUIET, *long))]
    with monkeypatch.context() as patch:
        patch.setattr(training.Log, "__call__", terminate)
        assert main(argv) == 128 + signal.SIGTERM
    assert "stopped and saved at step 6; the same command again resumes" in capsys.readouterr().err
    assert (workdir / "checkpoints" / "6").is_dir()
    state, said = resumed(tiny, long, workdir)
    assert said == ["resuming at step 6"]
    assert_equals(state, workdir, unbroken)


def child(workdir, long):
    """The run in a process of its own, sharing the compilation cache."""
    overrides = [f"--config.{text}" for text in (*QUIET, *long)]
    command = [sys.executable, "-m", "medjax", "train", "--config=pix2pix_cxr:tiny", f"--workdir={workdir}", *overrides]
    env = {**os.environ, "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    root = Path(__file__).resolve().parents[1]
    return subprocess.Popen(command, env=env, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def kill_when(process, ready, timeout=240):
    """`kill -9` as soon as `ready()`; whether the process was still running."""
    end = time.monotonic() + timeout
    while process.poll() is None and not ready() and time.monotonic() < end:
        time.sleep(0.002)
    running = process.poll() is None
    process.kill()
    process.communicate()
    return running


def test_kill_9_and_a_checkpoint_cut_short(tiny, long, unbroken, tmp_path):
    """A real kill once two checkpoints are there, and the later of them damaged: resumed from the earlier."""
    workdir = tmp_path / "run"
    assert kill_when(child(workdir, long), lambda: (workdir / "checkpoints" / "8").exists()), "it ended too soon"
    for path in (workdir / "checkpoints" / "8").rglob("*"):
        if path.is_file() and path.parent.name == "d":
            os.truncate(path, path.stat().st_size // 3)
    with pytest.warns(UserWarning, match="checkpoint of step 8 cannot be read"):
        state, said = resumed(tiny, long, workdir)
    assert said == ["resuming at step 4"]
    assert_equals(state, workdir, unbroken)


@pytest.mark.slow
def test_three_kills_at_random_moments(tiny, long, unbroken, tmp_path):
    """Killed while it trains, logs or writes a checkpoint, three times over; resumed each time."""
    workdir, rng = tmp_path / "run", random.Random(0)
    metrics = workdir / "metrics.jsonl"
    for lines in (2, 6, 10):
        process = child(workdir, long)
        kill_when(process, lambda: metrics.exists() and metrics.read_bytes().count(b"\n") >= lines)  # noqa: B023
        time.sleep(rng.uniform(0, 0.1))
    state, _ = resumed(tiny, long, workdir)
    assert_equals(state, workdir, unbroken)


# ------------------------------------------------------------------------------------------------ other ways to start


def test_nothing_is_compiled_after_the_first_step(unbroken):
    """Validation, sheets and checkpoints aside, which compile once each, after the steps that first call them."""
    compiled = unbroken.compiled
    assert compiled[1] > 0, "the listener hears compilations"
    assert compiled[4] == compiled[1] and compiled[8] == compiled[5] and compiled[12] == compiled[9]


def test_init_from_copies_weights_and_restarts_the_average(tiny, long, trained, tmp_path):
    said = []
    config = tiny(*long, f"init_from={trained}", "seed=5")
    data = build_data.open_data(config)
    example = next(build_data.train_batches(config, data)(0))
    objective = networks.objective(config, 12)
    with Checkpoints(tmp_path) as mine, Checkpoints(trained, read_only=True) as theirs:
        state = training._begin(config, objective, mine, example, placement.mesh_of(1), said.append)
        step, weights = theirs.weights()
    assert said == [f"starting from step {step} of {trained}"] and int(state.step) == 0
    for tree in (state.nets["generator"].params, state.ema["generator"][0]):
        for name, value in leaves(tree).items():
            np.testing.assert_array_equal(value, leaves(weights["generator"][0])[name], err_msg=name)
    moments = leaves(state.nets["generator"].opt_state)
    assert all(not v.any() for k, v in moments.items() if ".mu" in k or ".nu" in k)


def test_init_from_another_architecture_names_the_first_parameter(tiny, trained, tmp_path):
    with pytest.raises(CheckpointError, match=r"has another architecture: .* is \(.*\) there and \(.*\) here"):
        training.train(tiny("generator.features=4", f"init_from={trained}"), tmp_path / "run", say=lambda text: None)


def test_init_from_nowhere(tiny, tmp_path):
    with pytest.raises(CheckpointError, match="/nowhere is no workdir"):
        training.train(tiny("init_from=/nowhere"), tmp_path / "run", say=lambda text: None)


def test_a_loss_that_is_not_a_number_stops_the_run(tiny, tmp_path):
    """Adam with an absurd rate throws the weights to infinity; no such state is saved."""
    absurd = (
        "optimizer.learning_rate=1e38",
        "optimizer.warmup=0",
        "optimizer.clip=0.0",
        "train.save_every=1",
        "train.eval_every=4",
    )
    config = tiny(*absurd, name="restorer_cxr:tiny")
    with pytest.raises(NonFiniteError, match="at step [0-9]|after step [0-9]"):
        training.train(config, tmp_path / "run", say=lambda text: None)
    with Checkpoints(tmp_path / "run", read_only=True) as checkpoints:
        for step in checkpoints.steps():
            assert all(np.isfinite(x).all() for x in jax.tree.leaves(checkpoints.weights("latest")[1])), step


def test_another_config_is_refused_before_anything_changes(tiny, trained):
    before = {p: p.stat().st_mtime_ns for p in trained.rglob("*") if p.is_file()}
    with pytest.raises(ConfigError, match="belongs to a run of another config .*seed: 0 there, 9 now"):
        training.train(tiny("seed=9"), trained)
    assert before == {p: p.stat().st_mtime_ns for p in trained.rglob("*") if p.is_file()}


def test_weights_alone_cannot_be_resumed(tiny, long, trained, tmp_path):
    import shutil

    workdir = tmp_path / "run"
    shutil.copytree(trained, workdir)
    for folder in (workdir / "checkpoints").glob("*/training"):
        shutil.rmtree(folder)
    with pytest.raises(CheckpointError, match="weights alone"):
        training.train(tiny(*long), workdir, say=lambda text: None)
    assert configs.read(workdir).name == "pix2pix_cxr"
