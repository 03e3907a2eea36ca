"""Images kept on the host give the same batches to the bit; those on the device give batches of the same images."""

from __future__ import annotations

import signal

import jax
import numpy as np
import pytest
from PIL import Image

from medjax import images
from medjax.build import data as build_data
from medjax.build import resident, training
from medjax.data import packed, pipeline
from medjax.data.degrade import Degradation
from medjax.data.examples import Examples
from medjax.data.records import Record, Source
from medjax.types import RESIDENT, ConfigError, Stopped

pytestmark = pytest.mark.usefixtures("quick_compile")

KEY, COUNT, SIDE = jax.random.key(4), 5, 40
NAME = "restorer_cxr:tiny"


@pytest.fixture(scope="module")
def source():
    """Five images of 16 bits, smooth, each with a level of its own."""
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    made = [np.rint(65535 * (0.1 * i + 0.2 * x + 0.2 * y**2))[..., None].astype(np.float32) / 65535 for i in range(COUNT)]
    return Source("made", tuple(Record(f"{i}.png", str(i)) for i in range(COUNT)), lambda i: {"target": made[i]})


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """What makes a config of a folder of 12 small files of 8 bits."""
    root, rng = tmp_path_factory.mktemp("files"), np.random.default_rng(0)
    for i in range(12):
        Image.fromarray(rng.integers(0, 256, (44, 44), np.uint8)).save(root / f"{i}.png")
    return ("data.source=folder", f"data.root={root}")


def opened(config):
    return build_data.open_data(config)


def take(batches, start, count):
    return [batch for batch, _ in zip(batches(start), range(count), strict=False)]


def made_of(source, *, size=None, degradation=None, prefilter="", batch_size=2, seed=3, room=1 << 30):
    """(how, batches of numbers and images) of a source, as the build makes them of a config."""
    how = Examples(source, size, degradation, prefilter, "none", {}, seed)
    stacks, numbers = pipeline.resident_batches(how, range(len(source)), batch_size=batch_size, room=room)
    return how, lambda start: ({**batch, RESIDENT: stacks} for batch in numbers(start))


def test_no_cache_and_a_whole_one_give_the_same_bits(tiny, files):
    """Resized images, whose float32 is no stored value, and whole ones, which are."""
    for size in ("data.load_size=40", "data.load_size=0"):
        taken = {}
        for cache in ("none", "auto", "host"):
            config = tiny(*files, "data.threads=2", f"data.cache={cache}", size, name=NAME)
            taken[cache] = take(resident.train_batches(config, opened(config))[0], 0, 9)
        for cache in ("auto", "host"):
            for ours, theirs in zip(taken[cache], taken["none"], strict=True):
                assert ours.keys() == theirs.keys() and all(ours[k].tobytes() == theirs[k].tobytes() for k in ours)


@pytest.mark.parametrize(
    "size, degradation, prefilter",
    [(SIDE, Degradation(("binomial_blur",)), "median"), (32, Degradation(("binomial_blur", "contrast"), size=36), "")],
)
def test_what_draws_nothing_is_the_hosts(source, size, degradation, prefilter):
    """Degraded where it is seen and filtered, or degraded at a size of its own; up to the 16 bits in which images lie there."""
    options = {"image_size": size, "crop_size": None, "flip": False, "degradation": degradation, "prefilter": prefilter}
    _, batches = made_of(source, size=size, degradation=degradation, prefilter=prefilter)
    make = jax.jit(lambda batch: images.prepared(KEY, batch, **options))
    host = pipeline.train_batches(source, range(COUNT), seed=3, batch_size=2, **options)
    for ours, theirs in zip(take(batches, 0, 3), host(0), strict=False):
        ours = jax.device_get(make(ours))
        np.testing.assert_array_equal(ours["index"], theirs["index"])
        assert set(ours) == set(theirs) and ours["source"].dtype == np.float32
        for name in ("source", "target"):
            np.testing.assert_allclose(ours[name], theirs[name], rtol=0, atol=5e-5)


def test_a_batch_is_a_function_of_seed_and_position_and_an_image_of_its_own_draw(source):
    """Whatever the size of the batch, the other images and where one starts; and another crop and noise in every epoch."""
    degradation = Degradation(("gaussian_noise",))
    make = jax.jit(lambda batch: images.prepared(KEY, batch, crop_size=16, degradation=degradation))
    single, double = (made_of(source, batch_size=n)[1] for n in (1, 2))
    one = [jax.device_get(make(batch)) for batch in take(single, 0, 2 * COUNT)]
    two = [jax.device_get(make(batch)) for batch in take(double, 0, COUNT)]
    for name in ("source", "target", "index"):
        alone, together = (np.concatenate([batch[name] for batch in batches]) for batches in (one, two))
        np.testing.assert_allclose(alone, together, atol=1e-6)
    later = [jax.device_get(make(batch)) for batch in take(double, 3, 2)]
    assert all(a[k].tobytes() == b[k].tobytes() for a, b in zip(later, two[3:], strict=True) for k in a)
    first, second = ([batch for batch in half if batch["index"] == 2][0] for half in (one[:COUNT], one[COUNT:]))
    assert not np.array_equal(first["target"], second["target"])
    noise = np.concatenate([255 / 2 * (b["source"] - b["target"]) for b in one])
    assert noise.std() == pytest.approx(15, rel=0.05)
    few = jax.device_get(make(next(made_of(source, batch_size=2, seed=9)[1](0))))
    assert few["index"].tolist() != two[0]["index"].tolist(), "another seed, another order"


def test_pairs_and_reduced_sources_show_one_place():
    """A field that is linear: the mean over two by two pixels of the target is the source's pixel, wherever the crop lies."""
    y, x = np.mgrid[:24, :32] / 64
    target = np.rint(65535 * (x + y))[..., None] / 65535
    reduced = target.reshape(12, 2, 16, 2, 1).mean((1, 3))
    for source, degradation, k in ((target, None, 1), (reduced, Degradation(("downsample",), {"downsample": {"factor": 2}}), 2)):
        stacks = {"target": packed.quantised(target[None], 65535), "source": packed.quantised(source[None], 65535)}
        numbers = {"slot": np.zeros(12, np.int32), "draw": np.arange(24, dtype=np.uint32).reshape(12, 2)}
        how = {"crop_size": 8, "degradation": degradation, "done": 1 if degradation else 0}
        batch = jax.device_get(jax.jit(lambda b, how=how: images.prepared(KEY, b, **how))({**numbers, RESIDENT: stacks}))
        means = batch["target"].reshape(12, 8 // k, k, 8 // k, k, 1).mean((2, 4))
        np.testing.assert_allclose(batch["source"], means, atol=1e-4)
        corners = np.rint(32 * (batch["target"].min((1, 2, 3)) + 1))  # row and column of the crop's corner, added
        assert len(set(corners.tolist())) > 2 and (corners % k == 0).all()
        assert len({float(np.sign(b[0, 1, 0] - b[0, 0, 0])) for b in batch["target"]}) == 2, "some are mirrored"


@pytest.mark.slow
def test_a_run_on_the_device_resumes_to_the_bit(tiny, files, tmp_path):
    """Two steps in a call, the validation on the host; and the run knows what it was given."""
    words = (*files, "data.cache=device", "train.steps_per_call=2", "train.log_every=2", "train.steps=6", "train.ema=0.9")
    whole = training.train(tiny(*words, name=NAME), tmp_path / "whole", say=lambda text: None)
    stop = (4, lambda *_: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(Stopped, match="stopped and saved at step 4"):
        training.train(tiny(*words, name=NAME), tmp_path / "part", hooks=(stop,), say=lambda text: None)
    said = []
    again = training.train(tiny(*words, name=NAME), tmp_path / "part", say=said.append)
    assert "resuming at step 4" in said
    for ours, theirs in zip(jax.tree.leaves(again), jax.tree.leaves(whole), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(ConfigError, match="data.cache: 'device' there, 'host' now"):
        training.train(tiny(*words, "data.cache=host", name=NAME), tmp_path / "whole", say=lambda text: None)


def test_labels_come_with_the_numbers(tiny):
    config = tiny("data.cache=device", "data.phantom_cxr.count=36", name="classifier_cxr:tiny")
    ours, transform = resident.train_batches(config, opened(config))
    theirs = build_data.train_batches(config, opened(config))
    made, host = jax.jit(transform)(next(ours(0)), KEY), next(theirs(0))
    assert set(made) == set(host) and made["target"].shape == host["target"].shape
    for name in ("index", "label"):
        np.testing.assert_array_equal(made[name], host[name])


def test_what_cannot_be_kept_is_refused_with_figures(tiny, files, monkeypatch):
    """Unknown names, memory, methods of two pools, deformations, steps without a form on the device, native sizes that differ."""
    for name, words, told in (
        (NAME, ("data.cache=disk",), "config.data.cache is 'disk', which is none of auto, none, host, device"),
        ("led_cyclegan:tiny", ("data.cache=device",), "keeps single images and pairs, and phantom_pools holds two pools"),
        (NAME, ("data.cache=device", "data.rotate=5.0"), "config.data.rotate, zoom and elastic have no form on a device"),
        (NAME, ("data.cache=device", "data.degradation.steps=('motion_blur',)"), "step motion_blur has no form on a device"),
        ("pix2pix_mri:tiny", ("data.cache=device",), "and phantom_mri brings a region with each"),
        (NAME, (*files, "data.cache=device", "data.load_size=0", "data.crop_size=64"), "smaller than config.data.crop_size, 64"),
    ):
        config = tiny(*words, name=name)
        with pytest.raises(ConfigError, match=told):
            resident.train_batches(config, opened(config))
    monkeypatch.setattr(packed, "free_memory", lambda: 10_000)
    for cache, told in (("host", r"[\d.]+ MB, and memory has 0\.0 MB"), ("device", r"MB, and the device \(cpu\) has 0\.0 MB")):
        config = tiny(*files, f"data.cache={cache}", name=NAME)
        with pytest.raises(ConfigError, match=rf"\d+ decoded images take .*{told} free"):
            resident.train_batches(config, opened(config))


def test_pairs_of_files_lie_on_the_device(tiny, tmp_path):
    rng = np.random.default_rng(0)
    for folder in ("source", "target"):
        (tmp_path / folder).mkdir()
    for i in range(12):
        pixels = rng.integers(0, 256, (36, 36), np.uint8)
        for folder in ("source", "target"):
            Image.fromarray(pixels).save(tmp_path / folder / f"{i}.png")
    words = ("data.cache=device", "data.source=pairs", f"data.root={tmp_path}", "data.degradation.steps=()", "data.load_size=0")
    config = tiny(*words, name=NAME)
    batches, transform = resident.train_batches(config, opened(config))
    batch = next(batches(0))
    assert batch[RESIDENT]["source"].dtype == np.uint8, "files of 8 bits take as many"
    made = jax.jit(transform)(batch, KEY)
    np.testing.assert_array_equal(made["source"], made["target"])
    assert float(made["target"].std()) > 0.3
