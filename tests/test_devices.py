"""Several devices and several processes train what one does: simulated devices, and real processes on loopback."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.sharding import AbstractMesh, PartitionSpec

from medjax import placement, processes
from medjax.checkpoint import Checkpoints
from medjax.cli import main
from medjax.data import pipeline, sources
from medjax.state import Net, new_state
from medjax.types import ConfigError
from medjax.writers import read_metrics

FOUR = AbstractMesh((4,), ("data",))
CHILD = Path(__file__).with_name("devices_child.py")
PATIENT = "--xla_cpu_collective_call_terminate_timeout_seconds=600 --xla_cpu_collective_timeout_seconds=600"  # a busy machine
PLAIN = (
    "train.compilation_cache=", "train.tensorboard=False", "train.progress=False", "train.eval_every=10", "train.sample_every=0",
    "train.eval_images=2", "data.verify=False", "data.batch_size=8", "train.ema=0.9", "train.log_every=1",
)  # fmt: skip


def started(job, *, devices=1):
    """The child with a job, on so many simulated devices."""
    flags = f"--xla_force_host_platform_device_count={devices} {PATIENT}"
    root = str(CHILD.parents[1])
    env = {**os.environ, "XLA_FLAGS": flags, "JAX_DISABLE_MOST_OPTIMIZATIONS": "1", "PYTHONPATH": root}
    command = [sys.executable, str(CHILD), json.dumps(job)]
    return subprocess.Popen(command, env=env, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def told(process, timeout=1200):
    """The lines of JSON that a child has printed."""
    out, err = process.communicate(timeout=timeout)
    assert process.returncode == 0, err[-3000:]
    return [json.loads(line) for line in out.splitlines() if line.startswith("{")]  # Gloo says there that it is connected


# --------------------------------------------------------------------------------------------------- without devices


def test_large_arrays_are_split_along_their_longest_even_axis():
    array = lambda *shape: jax.ShapeDtypeStruct(shape, np.float32)
    params = {"kernel": array(4, 4, 64, 128), "odd": array(255, 257), "bias": array(128), "square": array(256, 256)}
    net = Net(params, {"mean": array(128)}, {"mu": params})
    state = new_state({"g": net}, pool=array(64, 64, 64, 1))._replace(ema={"g": (params, net.stats)})
    found = placement.shardings(state, FOUR, split=True)
    for tree in (found.nets["g"].params, found.nets["g"].opt_state["mu"], found.ema["g"][0]):
        specs = {name: sharding.spec for name, sharding in tree.items()}
        assert specs["kernel"] == PartitionSpec(None, None, None, "data") and specs["square"] == PartitionSpec("data")
        assert specs["odd"] == specs["bias"] == PartitionSpec()
    assert found.extra["pool"].spec == found.step.spec == PartitionSpec()
    assert all(s.spec == PartitionSpec() for s in jax.tree.leaves(placement.shardings(state, FOUR)))


def test_uneven_shares_and_absent_devices_are_refused(tiny, tmp_path, capsys):
    placement.check_sizes(FOUR, batch_size=8, microbatch=4)
    with pytest.raises(ConfigError, match="config.data.batch_size, 6, is no multiple of the 4 devices that train"):
        placement.check_sizes(FOUR, batch_size=6)
    with pytest.raises(ConfigError, match="config.train.microbatch, 2, is no multiple of the 4 devices"):
        placement.check_sizes(FOUR, batch_size=8, microbatch=2)
    there = jax.device_count()
    argv = ["train", "--config=pix2pix_cxr:tiny", f"--workdir={tmp_path / 'run'}", f"--config.train.devices={there + 1}"]
    assert main(argv) == 2
    assert f"config.train.devices is {there + 1}, and there are {there} here" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_processes_that_cannot_join_are_told_why(monkeypatch, tmp_path, capsys):
    argv = ["train", "--config=pix2pix_cxr:tiny", f"--workdir={tmp_path / 'run'}"]
    assert main([*argv, "--coordinator=localhost:1234", "--processes=2"]) == 2
    assert "belong together: one of them is missing" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="--process=2: processes are numbered from 0 to N - 1"):
        processes.join("localhost:1234", 2, 2)

    def nothing(*arguments, **options):
        assert options["heartbeat_timeout_seconds"] + options["shutdown_timeout_seconds"] < 60
        raise ValueError("coordinator_address should be defined.")

    monkeypatch.setattr(jax.distributed, "initialize", nothing)
    with pytest.raises(ConfigError, match="no job of Slurm, Kubernetes or Open MPI is found here"):
        processes.join()


def test_parts_of_a_batch_are_read_without_the_rest():
    """Two processes read disjoint images, and together the batch that one would, row by row."""
    source = sources.phantom_cxr(6, size=40)
    options = {"batch_size": 4, "image_size": 36, "crop_size": 32, "threads": 0}
    read = lambda part: list(islice(pipeline.train_batches(source, range(6), part=part, **options)(1), 3))
    for whole, *parts in zip(read((0, 1)), read((0, 2)), read((1, 2)), strict=True):
        for name, rows in whole.items():
            np.testing.assert_array_equal(rows, np.concatenate([part[name] for part in parts]), err_msg=name)
    with pytest.raises(ConfigError, match="batches of 4 images cannot be read in 3 equal parts"):
        pipeline.train_batches(source, range(6), part=(0, 3), **options)


def test_one_process_agrees_with_itself():
    assert processes.agreed({"psnr": 1 / 3}) == {"psnr": 1 / 3}
    assert processes.neighbours() == 1
    assert processes.leads() and not processes.several() and processes.part() == (0, 1) and not processes.must_stop(3)


def test_only_a_lost_process_is_told_as_one(monkeypatch):
    """What this process ran out of is not the others' fault, and trying again would not help."""
    monkeypatch.setattr(processes, "several", lambda: True)
    for text, kind in (("RESOURCE_EXHAUSTED: Out of memory", jax.errors.JaxRuntimeError), ("reset", processes.ProcessError)):
        with pytest.raises(kind, match=text), processes.together("run"):
            raise jax.errors.JaxRuntimeError(text)


# ------------------------------------------------------------------------------------------------------ with devices


def stepped(cases, *, microbatch=0, **options):
    """What `small_steps` finds in float64, equal to one device and compiled once."""
    job = {"float64": True, "small": {"cases": cases, "microbatch": microbatch, **options}}
    (found,) = told(started(job, devices=max(devices for devices, _ in cases.values())))
    for name, row in found.items():
        assert row["differs"] < 1e-10 and row["later"] == 0 and row["devices"] == cases[name][0], (name, row)
    return found


def test_several_devices_step_as_one(tmp_path):
    """States whole and in parts on two simulated devices; checkpoints from one to two and back; what prediction reads."""
    found = stepped({"one": (1, False), "whole": (2, False), "split": (2, True)}, folder=str(tmp_path))
    whole, split = found["whole"], found["split"]
    assert whole["parts"] == 0 < split["parts"] and split["held"] < 0.7 * split["whole"] == 0.7 * whole["held"]
    assert split["alone"] and split["gathered"] < 1e-10 and split["restored"]


@pytest.mark.slow
def test_micro_batches_are_spread_over_devices():
    """Parts of the batch have the statistics and the dropout that they have on one device."""
    stepped({"one": (1, False), "whole": (2, False), "split": (4, True)}, microbatch=4)


def runs(tmp_path, **overrides):
    """Jobs of pix2pix_cxr:tiny by name."""
    return [
        {"workdir": str(tmp_path / name), "config": "pix2pix_cxr:tiny", "overrides": [*PLAIN, "train.steps=20", *own]}
        for name, own in overrides.items()
    ]


def compared(one, other):
    """(the largest relative difference of any row's loss, of any net's parameters by norm) of two workdirs."""
    rows = [[r for r in read_metrics(path) if r["split"] == "train"] for path in (one, other)]
    assert len(rows[0]) == len(rows[1]) == 20
    losses = [abs(a[k] - b[k]) / abs(a[k]) for a, b in zip(*rows, strict=True) for k in ("g_loss", "d_loss")]
    nets = []
    for path in (one, other):
        with Checkpoints(path, read_only=True) as checkpoints:
            nets.append(checkpoints.weights("latest")[1])
    flat = lambda tree: np.concatenate([np.ravel(x).astype(np.float64) for x in jax.tree.leaves(tree)])
    norms = [np.linalg.norm(flat(nets[0][n]) - flat(nets[1][n])) / np.linalg.norm(flat(nets[0][n])) for n in nets[0]]
    return max(losses), max(norms)


@pytest.mark.slow
@pytest.mark.parametrize(("float64", "loss", "norm"), [(True, 1e-8, 1e-8), (False, 1e-3, 1e-2)])
def test_eight_devices_train_as_one(tmp_path, float64, loss, norm):
    """20 steps of pix2pix with validation, dropout, batch norm and an average: on one device, on eight, on eight in parts, and
    ten of them on eight before ten on one, and the reverse.
    """
    eight = ("train.devices=8",)
    jobs = runs(tmp_path, one=(), eight=eight, fsdp=(*eight, "train.fsdp=True"))
    jobs += [{**job, "until": 10} for job in runs(tmp_path, down=eight, up=())]
    one, whole, split, *stopped = told(started({"float64": float64, "runs": jobs}, devices=8))
    assert [row["devices"] for row in (one, whole, split)] == [1, 8, 8]
    assert all("stopped and saved at step 10" in row["error"] for row in stopped)
    resumed = told(started({"float64": float64, "runs": runs(tmp_path, down=(), up=eight)}, devices=8))
    assert [row["devices"] for row in resumed] == [1, 8] and all("resuming at step 10" in row["said"] for row in resumed)
    assert split["parts"] > 0 and split["held"] < whole["held"]
    for name in ("eight", "fsdp", "down", "up"):
        found = compared(tmp_path / "one", tmp_path / name)
        assert found[0] < loss and found[1] < norm, (name, found)


def port():
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


def two(job):
    """The job in two processes on loopback."""
    coordinator = f"localhost:{port()}"
    return [started({**job, "join": [coordinator, 2, number]}) for number in range(2)]


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path):
    assert told(started({"float64": True, "runs": runs(tmp_path, one=())}))[0]["step"] == 20
    first, second = two({"float64": True, "runs": runs(tmp_path, two=("data.cache=host",), split=("train.fsdp=True",))})
    rows, none = told(first), told(second)
    assert not none and [row["devices"] for row in rows] == [2, 2]
    for name in ("two", "split"):
        found = compared(tmp_path / "one", tmp_path / name)
        assert max(found) < 1e-8, (name, found)
    validated = [[r for r in read_metrics(tmp_path / n) if r["split"] == "validation"] for n in ("one", "two")]
    assert [r["psnr"] for r in validated[1]] == pytest.approx([r["psnr"] for r in validated[0]], rel=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
def test_a_process_that_dies_ends_the_other(tmp_path, killed):
    """Within a minute, with a sentence; its last checkpoint is whole, and the run goes on in one process."""
    endless = ("train.steps=100000", "train.save_every=2", "train.eval_every=0")
    (job,) = runs(tmp_path, run=endless)
    children = two({"runs": [job]})
    folder = tmp_path / "run" / "checkpoints"
    end = time.monotonic() + 900
    while not (folder.exists() and any(p.name.isdigit() for p in folder.iterdir())) and time.monotonic() < end:
        assert all(child.poll() is None for child in children)
        time.sleep(0.2)
    children[killed].kill()
    begun = time.monotonic()
    out, err = children[1 - killed].communicate(timeout=60)
    assert time.monotonic() - begun < 60 and (children[1 - killed].returncode != 0 or "ProcessError" in out)
    assert "lost the others" in out or "another task died" in err, (out, err[-2000:])
    children[killed].communicate()
    with Checkpoints(tmp_path / "run", read_only=True) as checkpoints:
        last = checkpoints.steps()[-1]
    alone = started({"runs": [job]})
    while (folder / str(last + 2)).exists() is False and alone.poll() is None:
        time.sleep(0.2)
    alone.send_signal(signal.SIGTERM)
    assert "stopped and saved at step" in told(alone)[0]["error"]
    steps = [r["step"] for r in read_metrics(tmp_path / "run")]
    assert steps == list(range(1, len(steps) + 1)) and len(steps) >= last + 2


@pytest.mark.slow
def test_sigterm_to_one_process_stops_both_after_the_same_step(tmp_path):
    (job,) = runs(tmp_path, run=("train.steps=100000", "train.save_every=0", "train.eval_every=0"))
    children = two({"runs": [job]})
    metrics = tmp_path / "run" / "metrics.jsonl"
    while not (metrics.exists() and metrics.read_bytes().count(b"\n") > 2):
        assert all(child.poll() is None for child in children)
        time.sleep(0.2)
    children[1].send_signal(signal.SIGTERM)
    ends = [told(child)[0]["error"] for child in children]
    assert ends[0] == ends[1] and "stopped and saved at step" in ends[0]
    with Checkpoints(tmp_path / "run", read_only=True) as checkpoints:
        assert f"at step {checkpoints.steps()[-1]};" in ends[0]
