"""Shared fixtures: where the real data are, one compilation cache for the suite, and runs that several tests look at."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

# Before jax is imported, and in the environment so that child processes share it. Every program is kept, however small: many
# tests compile the same ones, and the studies compile theirs for each of their runs.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).resolve().parents[1] / ".cache" / "xla"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="medjax-tests-")  # surveys of MR pairs

import jax
import numpy as np
import pytest
from helpers import leaves, once
from ml_collections import ConfigDict

import medjax

medjax.keep_memory()  # of the suite's own processes; what it tests is forbidden to
os.environ.setdefault("MEDJAX_XLA_FLAGS", "0")

# The tiny configs without what only a person looks at; "" leaves the suite's own compilation cache in place.
QUIET = ("train.compilation_cache=", "train.tensorboard=False", "train.progress=False")
# Dropout, batch norm, an EMA and reading threads: everything that could break a bit-exact resume.
LONG = (
    "train.steps=12",
    "train.save_every=4",
    "train.eval_every=12",
    "train.sample_every=12",
    "train.ema=0.9",
    "data.threads=2",
)


def pytest_collection_finish() -> None:
    """What is loaded by now stays, and tracing programs makes much that goes by itself: the collector looks at either less."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real medical images named by MEDJAX_DATA; the test skips, saying so, where it is absent."""
    root = os.environ.get("MEDJAX_DATA")
    if not root or not Path(root).is_dir():
        pytest.skip("MEDJAX_DATA does not name a folder of real images")
    return Path(root).resolve()


@contextlib.contextmanager
def without_expensive_passes() -> Iterator[None]:
    """XLA compiles quickly here: the tiny nets of the tests compile for longer than they run."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    try:
        yield
    finally:
        jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture(scope="module")
def quick_compile() -> Iterator[None]:
    """XLA without its expensive passes for a whole module of tests."""
    with without_expensive_passes():
        yield


@pytest.fixture(scope="session")
def tiny() -> Callable[..., ConfigDict]:
    """`tiny("train.steps=2", ...)`: the config `pix2pix_cxr:tiny` (or `name=`) with overrides, writing no events."""
    from medjax.build import config

    return lambda *overrides, name="pix2pix_cxr:tiny": config.get(name, [*QUIET, *overrides])


@pytest.fixture(scope="session")
def flags() -> tuple[str, ...]:
    """What `medjax train` is given in tests."""
    return tuple(f"--config.{text}" for text in QUIET)


@pytest.fixture(scope="session")
def long() -> tuple[str, ...]:
    """The overrides of a run that is interrupted: 12 steps, a checkpoint every 4, dropout, batch norm, EMA, threads."""
    return LONG


def end_to_end(config: ConfigDict, folder: Path) -> None:
    """A run in `folder/run`, and every array of its last state by path in `folder/state.npz`."""
    from medjax.build import training

    with without_expensive_passes():
        np.savez(folder / "state.npz", **leaves(training.train(config, folder / "run", say=lambda text: None)))


def counted(config: ConfigDict, folder: Path) -> None:
    """The same, and the programs compiled by each step in `folder/compiled.json`."""
    from medjax.build import training

    programs, compiled = [], []
    jax.monitoring.register_event_duration_secs_listener(
        lambda name, *_, **__: programs.append(name) if name == "/jax/core/compile/backend_compile_duration" else None
    )
    log = training.Log.__call__

    def count(self: object, step: int, state: object, metrics: object) -> None:
        log(self, step, state, metrics)
        compiled.append((step, len(programs)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training.Log, "__call__", count)
        end_to_end(config, folder)
    (folder / "compiled.json").write_text(json.dumps(compiled))


def run_of(
    config: ConfigDict, factory: pytest.TempPathFactory, name: str, make: Callable[[ConfigDict, Path], None] = end_to_end
) -> tuple[Path, dict[str, np.ndarray]]:
    """The workdir of a run, which one process makes and each has a copy of, and every array of its last state by path."""
    folder = factory.mktemp(name)
    shutil.copytree(once(factory, name, lambda made: make(config, made)), folder, dirs_exist_ok=True)
    with np.load(folder / "state.npz", allow_pickle=False) as arrays:
        return folder / "run", dict(arrays)


class Unbroken(NamedTuple):
    """A run without interruption: workdir, every array of its last state by path, and programs compiled by each step."""

    workdir: Path
    arrays: dict[str, np.ndarray]
    compiled: dict[int, int]


@pytest.fixture(scope="session")
def unbroken(tiny, long, tmp_path_factory) -> Unbroken:
    """The run of `long` from end to end."""
    workdir, arrays = run_of(tiny(*long), tmp_path_factory, "unbroken", counted)
    return Unbroken(workdir, arrays, dict(json.loads((workdir.parent / "compiled.json").read_text())))


@pytest.fixture(scope="session")
def trained(unbroken) -> Path:
    """The workdir of that run. Copy it before changing anything in it."""
    return unbroken.workdir


@pytest.fixture(scope="session")
def trained_mri(tiny, tmp_path_factory) -> Path:
    """The workdir of a run of pix2pix_mri:tiny. Copy it before changing anything in it."""
    return run_of(tiny(name="pix2pix_mri:tiny"), tmp_path_factory, "mri")[0]


@pytest.fixture(scope="session")
def long_gan() -> tuple[str, ...]:
    """The overrides of a run of cgan_cxr:tiny that is interrupted, on 48 phantoms."""
    times = ("train.steps=6", "train.save_every=3", "train.eval_every=6", "train.sample_every=6")
    return (*times, "data.phantom_cxr.count=48", "data.threads=2", "method.r1=0.1")


@pytest.fixture(scope="session")
def unbroken_gan(tiny, long_gan, tmp_path_factory) -> tuple[Path, dict[str, np.ndarray]]:
    """The workdir of that run from end to end, and every array of its last state by path."""
    return run_of(tiny(*long_gan, name="cgan_cxr:tiny"), tmp_path_factory, "gan")


@pytest.fixture(scope="session")
def gan_run(unbroken_gan) -> Path:
    """The workdir of that run. Copy it before changing anything in it."""
    return unbroken_gan[0]


@pytest.fixture(scope="session")
def unbroken_diffusion(tiny, tmp_path_factory) -> tuple[Path, dict[str, np.ndarray]]:
    """The workdir of a run of led_diffusion:tiny, and every array of its last state by path."""
    return run_of(tiny(name="led_diffusion:tiny"), tmp_path_factory, "diffusion")


@pytest.fixture(scope="session")
def diffusion_run(unbroken_diffusion) -> Path:
    """The workdir of that run. Copy it before changing anything in it."""
    return unbroken_diffusion[0]


@pytest.fixture(scope="session")
def long_cyclegan() -> tuple[str, ...]:
    """The overrides of a run of led_cyclegan:tiny that is interrupted."""
    return ("train.steps=6", "train.save_every=3", "train.eval_every=6", "train.sample_every=6", "data.threads=2")


@pytest.fixture(scope="session")
def unbroken_cyclegan(tiny, long_cyclegan, tmp_path_factory) -> tuple[Path, dict[str, np.ndarray]]:
    """The workdir of that run from end to end, and every array of its last state by path."""
    return run_of(tiny(*long_cyclegan, name="led_cyclegan:tiny"), tmp_path_factory, "cyclegan")


@pytest.fixture(scope="session")
def cyclegan_run(unbroken_cyclegan) -> Path:
    """The workdir of that run. Copy it before changing anything in it."""
    return unbroken_cyclegan[0]


@pytest.fixture(scope="session")
def led_pairs(cyclegan_run, tmp_path_factory) -> Path:
    """The pairs that the command makes of it. Copy them before changing anything."""
    from medjax.cli import main

    def make(folder: Path) -> None:
        with without_expensive_passes():
            assert main(["degrade", f"--workdir={cyclegan_run}", f"--output={folder / 'pairs'}"]) == 0

    return once(tmp_path_factory, "led_pairs", make) / "pairs"


@pytest.fixture(scope="session")
def trained_classifier(tiny, tmp_path_factory) -> Path:
    """The workdir of a run of classifier_cxr:tiny on 36 phantoms. Copy it before changing anything in it."""
    return run_of(tiny("data.phantom_cxr.count=36", name="classifier_cxr:tiny"), tmp_path_factory, "classifier")[0]


@pytest.fixture(scope="session")
def sr_run(tiny, tmp_path_factory) -> Path:
    """The workdir of a run that enlarges images of 32 pixels to 64."""
    sizes = ("data.image_size=64", "data.load_size=64", "data.crop_size=32")
    return run_of(tiny("data.scale=2", *sizes, "train.steps=1", name="srgan_cxr:srresnet_tiny"), tmp_path_factory, "sr")[0]


@pytest.fixture(scope="session")
def synthetic_set(gan_run, tmp_path_factory) -> Path:
    """A folder of 8 synthetic images of each class, made by the command."""
    from medjax.cli import main

    def make(folder: Path) -> None:
        argv = ["synthesize", f"--workdir={gan_run}", f"--output={folder / 'images'}", "--label=all", "--count=8"]
        with without_expensive_passes():
            assert main(argv) == 0

    return once(tmp_path_factory, "synthetic", make) / "images"


@pytest.fixture(scope="session")
def classifier_run(synthetic_set, flags, tmp_path_factory) -> Path:
    """The workdir of a classifier trained on that folder by the command, as it stands."""
    from medjax.cli import main

    words = ["--config=classifier_cxr:tiny", "--config.data.source=nih_cxr14", f"--config.data.root={synthetic_set}"]

    def make(folder: Path) -> None:
        with without_expensive_passes():
            assert main(["train", *words, f"--workdir={folder / 'synthetic'}", "--config.train.steps=2", *flags]) == 0

    return once(tmp_path_factory, "classifier_of_synthetic", make) / "synthetic"
