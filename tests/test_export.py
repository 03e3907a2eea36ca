"""A run's prediction as a program of its own: without Flax the same images, on the platforms asked for, or one sentence."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from jax import export

from medjax import exported
from medjax.build import exporting, trained
from medjax.cli import main
from medjax.models.conv import conv_transpose, traced_for
from medjax.types import CheckpointError, ConfigError

pytestmark = pytest.mark.usefixtures("quick_compile")

# What a user without this library's networks does; it must not need more than jax and numpy.
READER = """
import sys
import numpy as np
from medjax import exported

for name in sys.argv[1:]:
    predict, about = exported.load(name)
    given = np.load(name + ".npz")
    np.save(name + ".npy", predict(*(given[each["name"]] for each in about["inputs"])))
loaded = [m for m in sys.modules if m.split(".")[0] in ("flax", "optax", "orbax", "ml_collections") or m.startswith("medjax.m")]
assert not loaded, loaded
"""


@pytest.fixture(scope="module")
def programs(trained, diffusion_run, tmp_path_factory):
    """A GAN's prediction for two platforms, and one that draws its images: {name: (file, what it says, workdir)}."""
    folder, made = tmp_path_factory.mktemp("programs"), {}
    both = "--platforms=cpu,cuda"
    for name, run, words in (("gan", trained, ["--batch=2", both]), ("drawn", diffusion_run, ["--batch=2"])):
        file = folder / "deep" / f"{name}.jax"
        assert main(["export", f"--workdir={run}", "--shape=32,32", f"--output={file}", *words]) == 0
        made[name] = file, json.loads(exported.beside(file).read_text()), run
    return made


def images(seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (2, 32, 32, 1)).astype(np.float32)


def test_a_reader_without_flax_gets_what_predict_gives(programs):
    key = jax.random.key(3)
    for file, _, _ in programs.values():
        np.savez(f"{file}.npz", images=images(), key=jax.random.key_data(key))
    files = [str(file) for file, _, _ in programs.values()]
    done = subprocess.run([sys.executable, "-c", READER, *files], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for file, _, run in programs.values():
        model = trained.load(run)
        batch = {"source": images(), "index": np.arange(2, dtype=np.int32)}
        expected = np.asarray(model.predict()(batch, key)["target"])
        found = np.load(f"{file}.npy")
        assert found.dtype == np.float32 and expected.std() > 0.01
        np.testing.assert_allclose(found, expected, atol=2e-5)


def test_the_file_beside_tells_what_the_program_is(programs):
    file, about, run = programs["gan"]
    assert about["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest() and about["bytes"] == file.stat().st_size
    assert about["config"] == "pix2pix_cxr:tiny" and about["checkpoint_step"] == trained.load(run).step
    assert about["platforms"] == ["cpu", "cuda"] and about["versions"]["jax"] == jax.__version__
    (given,) = about["inputs"]
    assert given == {"name": "images", "shape": [2, 32, 32, 1], "dtype": "float32", "range": [-1, 1],
                     "layout": "batch, height, width, channel"}  # fmt: skip
    assert about["output"]["shape"] == [2, 32, 32, 1] and about["output"]["range"] == [-1, 1] and not about["random"]
    _, drawn, _ = programs["drawn"]
    assert [each["name"] for each in drawn["inputs"]] == ["images", "key"] and drawn["random"] == "threefry2x32"


def test_weights_are_held_once_for_all_platforms(programs):
    """The generator's, in bytes, and a program beside them that is small however many platforms it is for."""
    _, about, run = programs["gan"]
    weights = sum(x.nbytes for x in jax.tree.leaves(trained.load(run).state.nets["generator"][:2]))
    assert weights < about["bytes"] < 1.6 * weights


def test_each_platform_gets_its_own_forms():
    """Transposed convolutions are input-dilated ones but on a CPU; and a jitted function is traced again for another platform."""
    x, kernel, seen = np.zeros((4, 16, 16, 8), np.float32), np.zeros((4, 4, 8, 8), np.float32), []
    traced = jax.jit(lambda x, kernel: conv_transpose(x, kernel))
    for platform in ("cpu", "cuda", "cpu"):
        with traced_for(platform):
            seen.append("lhs_dilation=(2, 2)" in str(traced.trace(x, kernel).jaxpr))
    assert seen == [False, True, False]


def test_without_an_output_the_program_lies_in_the_workdir(trained, tmp_path, capsys):
    run = shutil.copytree(trained, tmp_path / "run")
    assert main(["export", f"--workdir={run}", "--shape=32,64"]) == 0
    assert f"written: {run / 'predict_32x64.jax'}" in capsys.readouterr().out
    assert exported.load(run / "predict_32x64.jax")[1]["output"]["shape"] == [1, 32, 64, 1]


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        (["--shape=32"], 2, "--shape reads HEIGHT,WIDTH, two whole numbers, not '32'"),
        (["--shape=0,32"], 2, "a height, a width and a batch of at least 1, not 0, 32 and 1"),
        (["--shape=40,32"], 2, "takes sizes that are multiples of 32, not 40x32"),
        (["--shape=32,32", "--platforms=cpu,gpu"], 2, "unknown platform 'gpu'; known: cpu, cuda, rocm, tpu"),
        (["--shape=32,32", "--workdir={tmp}"], 1, "is no workdir of a run"),
        (["--shape=32,32", "--workdir={tmp}/absent"], 1, "{tmp}/absent is no workdir of a run"),
        (["--shape=32,32", "--output={tmp}"], 2, "is a folder, where the file of a program"),
        (["--shape=32,32", "--output={tmp}/there"], 2, "there exists; give another --output, or --overwrite"),
    ],
)
def test_what_cannot_be_exported_is_told_in_one_sentence(trained, tmp_path, capsys, words, status, told):
    (tmp_path / "there").write_text("mine")
    words = [word.format(tmp=tmp_path) for word in words]
    assert main(["export", f"--workdir={trained}", f"--output={tmp_path / 'out'}", *words]) == status
    error = capsys.readouterr().err
    assert told.format(tmp=tmp_path) in error and error.count("\n") == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["there"] and (tmp_path / "there").read_text() == "mine"


def test_a_generator_from_labels_is_not_exported(gan_run, tmp_path):
    with pytest.raises(ConfigError, match="a run of cgan, which predicts from no image"):
        exporting.export_run(gan_run, tmp_path / "out", shape=(32, 32))


def test_files_that_are_no_program_for_this_machine(tmp_path):
    file: Path = tmp_path / "p.jax"
    with pytest.raises(CheckpointError, match="is absent; medjax export makes it"):
        exported.load(file)
    program = bytes(export.export(jax.jit(lambda x: x), platforms=["tpu"])(jax.ShapeDtypeStruct((1,), "float32")).serialize())
    file.write_bytes(program)
    with pytest.raises(CheckpointError, match="p.jax.json, which tells what .*p.jax is, cannot be read"):
        exported.load(file)
    exported.beside(file).write_text(json.dumps({"sha256": hashlib.sha256(program).hexdigest()}))
    with pytest.raises(CheckpointError, match="was exported for tpu, and jax runs on cpu here"):
        exported.load(file)
    file.write_bytes(program[:-1])
    with pytest.raises(CheckpointError, match="sha256 differs"):
        exported.load(file)
