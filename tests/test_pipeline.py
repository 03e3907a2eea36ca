"""Batches are a function of seed and position alone, and both images of an example show the same place."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from PIL import Image

from medjax.data import pipeline, sources
from medjax.data.degrade import Degradation
from medjax.data.records import Record, Source
from medjax.types import ConfigError, DataError, to_unit

COUNT, SIDE = 7, 40
SMALL = {"batch_size": 3, "image_size": 36, "crop_size": 32, "degradation": Degradation(), "seed": 5}


@pytest.fixture(scope="module")
def source():
    """Seven smooth images, each with a level of its own."""
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    images = [(0.1 * i + 0.3 * x + 0.1 * y)[..., None].astype(np.float32) for i in range(COUNT)]
    records = tuple(Record(f"{i}.png", str(i), labels=("A",) if i % 2 else ("B", "C")) for i in range(COUNT))
    return Source("made", records, lambda i: {"target": images[i]}, ("A", "B", "C"))


def take(batches, start, count):
    return [batch for batch, _ in zip(batches(start), range(count), strict=False)]


def assert_same(first, second):
    assert len(first) == len(second)
    for a, b in zip(first, second, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])


def test_batches_follow_the_contract(source):
    batch = next(pipeline.train_batches(source, range(COUNT), **SMALL)(0))
    assert set(batch) == {"source", "target", "index"}
    for name in ("source", "target"):
        assert batch[name].shape == (3, 32, 32, 1) and batch[name].dtype == np.float32
        assert batch[name].flags.c_contiguous and abs(batch[name]).max() <= 1
    assert batch["index"].dtype == np.int32 and batch["index"].shape == (3,)


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_any_start_and_any_number_of_threads_continue_to_the_bit(source, threads):
    whole = take(pipeline.train_batches(source, range(COUNT), **SMALL, threads=0), 0, 9)
    for start in (0, 1, 5):
        batches = pipeline.train_batches(source, range(COUNT), **SMALL, threads=threads)
        assert_same(take(batches, start, 9 - start), whole[start:])
    uncached = pipeline.train_batches(source, range(COUNT), **SMALL, threads=threads, cache_bytes=0)
    assert_same(take(uncached, 4, 2), whole[4:6])


def test_an_epoch_is_every_image_once_in_a_new_order(source):
    order = np.concatenate([b["index"] for b in take(pipeline.train_batches(source, range(COUNT), **SMALL), 0, COUNT)])
    epochs = order.reshape(3, COUNT)
    assert all(sorted(epoch) == list(range(COUNT)) for epoch in epochs.tolist())
    assert len({tuple(epoch) for epoch in epochs.tolist()}) > 1
    other = pipeline.train_batches(source, range(COUNT), **(SMALL | {"seed": 6}))
    assert (np.concatenate([b["index"] for b in take(other, 0, COUNT)]) != order).any()
    few = pipeline.train_batches(source, [4, 2], **SMALL)
    assert {int(i) for b in take(few, 0, 4) for i in b["index"]} == {2, 4}


def test_degradation_and_crop_change_with_the_epoch(source):
    options = SMALL | {"batch_size": 1, "flip": False}
    first, second = take(pipeline.train_batches(source, [3], **options), 0, 2)
    noise = [b["source"] - b["target"] for b in (first, second)]
    assert abs(noise[0] - noise[1]).max() > 0.01
    still = SMALL | {"batch_size": 1, "flip": False, "degradation": None, "crop_size": 36}
    assert_same(*[[b] for b in take(pipeline.train_batches(source, [3], **still), 0, 2)])


def test_source_and_target_show_the_same_place(source):
    mild = Degradation(steps=("gaussian_noise",), params={"gaussian_noise": {"sigma": 1.0}})
    for size in (None, 36, 48):
        options = SMALL | {"degradation": Degradation(mild.steps, mild.params, size)}
        for batch in take(pipeline.train_batches(source, range(COUNT), **options), 0, 3):
            assert abs(batch["source"] - batch["target"]).max() < 12 / 255


def test_pairs_get_one_geometry(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE + 9), np.uint8)
    for folder in ("source", "target"):
        (tmp_path / folder).mkdir()
        Image.fromarray(image).save(tmp_path / folder / "a.png")
    source = sources.pairs(tmp_path)
    for image_size in (None, 36):
        batches = pipeline.train_batches(source, [0], batch_size=2, image_size=image_size, crop_size=32)
        for batch in take(batches, 0, 3):
            np.testing.assert_array_equal(batch["source"], batch["target"])
    with pytest.raises(ConfigError, match="pairs brings its own"):
        pipeline.train_batches(source, [0], **SMALL)


def test_native_crops_are_pixels_of_the_file(source):
    batches = pipeline.train_batches(source, [2], batch_size=1, image_size=None, crop_size=16, crop_align=8, flip=False)
    whole = source.load(2)["target"] * 2 - 1
    for batch in take(batches, 0, 6):
        places = [whole[t : t + 16, le : le + 16] for t in range(0, 25, 8) for le in range(0, 25, 8)]
        assert any(np.array_equal(place, batch["target"][0]) for place in places)


def test_evaluation_is_fixed_whole_and_padded(source):
    batches = pipeline.eval_batches(
        source, [6, 1, 3, 0], batch_size=3, image_size=36, degradation=Degradation(), seed=1
    )
    first = list(batches)
    assert_same(first, list(batches))
    assert (len(batches), batches.num_images) == (2, 4)
    assert [b["index"].tolist() for b in first] == [[6, 1, 3], [0, 0, 0]]
    assert [b["mask"].tolist() for b in first] == [[True] * 3, [True, False, False]]
    assert first[0]["target"].shape == (3, 36, 36, 1)
    alone = list(
        pipeline.eval_batches(source, [3], batch_size=1, image_size=36, degradation=Degradation(), seed=1, threads=0)
    )
    np.testing.assert_array_equal(alone[0]["source"][0], first[0]["source"][2])  # whatever its neighbours


def test_degradation_size_is_where_blocks_fall(source):
    """JPEG at 80 and then 40: what is seen is the damage shrunk, so smaller than damage done at 40."""
    rng = np.random.default_rng(0)
    rough = Source("rough", source.records[:1], lambda i: {"target": rng_image}, ())
    rng_image = np.clip(0.5 + 0.2 * rng.standard_normal((80, 80, 1)), 0, 1).astype(np.float32)
    error = {}
    for size in (None, 80):
        batch = next(
            iter(
                pipeline.eval_batches(
                    rough, [0], batch_size=1, image_size=40, degradation=Degradation(("gaussian_noise",), {}, size)
                )
            )
        )
        error[size] = np.std(to_unit(batch["source"]) - to_unit(batch["target"])) * 255
    assert error[None] == pytest.approx(15, rel=0.1) and error[80] < 12


def test_labels(source):
    options = {"batch_size": 2, "image_size": 8}
    multi = next(iter(pipeline.eval_batches(source, [0, 1], labels="multi", **options)))["label"]
    assert multi.dtype == np.float32 and multi.tolist() == [[0, 1, 1], [1, 0, 0]]
    single = next(iter(pipeline.eval_batches(source, [1, 3], labels="single", **options)))["label"]
    assert single.dtype == np.int32 and single.tolist() == [0, 0]
    with pytest.raises(DataError, match=r"0\.png has 2 labels"):
        next(iter(pipeline.eval_batches(source, [0], labels="single", **options)))


def test_options_that_cannot_work(source):
    for wrong in ({"crop_size": 48}, {"crop_size": None, "image_size": None}, {"labels": "some"}, {"batch_size": 0}):
        with pytest.raises(ConfigError):
            pipeline.train_batches(source, range(COUNT), **(SMALL | wrong))
    for indices in ([], [COUNT], [-1]):
        with pytest.raises(DataError):
            pipeline.train_batches(source, indices, **SMALL)


def test_threads_end_with_the_iterator(source):
    before = threading.active_count()
    iterator = pipeline.train_batches(source, range(COUNT), **SMALL, threads=2)(0)
    next(iterator)
    assert threading.active_count() > before
    iterator.close()
    for _ in range(50):
        if threading.active_count() <= before:
            break
        time.sleep(0.05)
    assert threading.active_count() <= before


def test_real_radiographs(real_data):
    source = sources.nih_cxr14(real_data / "cxr_nih")
    options = {"batch_size": 8, "image_size": 256, "degradation": Degradation()}
    scores = []
    for batch in pipeline.eval_batches(source, range(0, 240, 15), **options):
        error = (to_unit(batch["source"]) - to_unit(batch["target"])) ** 2
        scores += (-10 * np.log10(error.mean((1, 2, 3)))).tolist()
    assert np.mean(scores) == pytest.approx(31.7, abs=0.5)
    batches = pipeline.train_batches(source, range(240), batch_size=4, degradation=Degradation())
    assert_same(take(batches, 2, 1), take(batches, 0, 3)[2:])


def test_another_file_in_the_folder_changes_no_other_image(tmp_path):
    """Degradation and augmentation belong to an image's name, not to its place in the listing."""
    rng = np.random.default_rng(0)
    for name in ("b", "c", "d"):
        Image.fromarray(rng.integers(0, 256, (40, 40), np.uint8)).save(tmp_path / f"{name}.png")

    def degraded(name):
        source = sources.folder(tmp_path)
        batches = pipeline.eval_batches(
            source, [source.names.index(name)], batch_size=1, image_size=32, degradation=Degradation(), threads=0
        )
        return next(iter(batches))["source"]

    before = degraded(next(n for n in sources.folder(tmp_path).names if n.startswith("c")))
    Image.fromarray(rng.integers(0, 256, (40, 40), np.uint8)).save(tmp_path / "a.png")
    np.testing.assert_array_equal(degraded(next(n for n in sources.folder(tmp_path).names if n.startswith("c"))), before)


def test_region_and_channels_share_the_geometry(source):
    """Whatever crop and flip: the region is where the target is bright, and channels keep their order."""
    y, x = np.mgrid[:SIDE, :SIDE]
    disc = ((x - 13) ** 2 + (y - 25) ** 2 < 81).astype(np.float32)[..., None]

    def load(i):
        return {"source": np.concatenate([disc * 0.25, disc * 0.5, disc], -1), "target": disc * 1.0, "region": disc * 1.0}

    deep = Source("deep", source.records, load, paired=True)
    for image_size, cache_bytes in ((None, 1 << 20), (52, 1 << 20), (52, 0)):
        options = {"batch_size": 3, "image_size": image_size, "crop_size": 32, "cache_bytes": cache_bytes}
        for batch in take(pipeline.train_batches(deep, range(COUNT), **options), 0, 3):
            assert batch["source"].shape == (3, 32, 32, 3) and batch["region"].shape == (3, 32, 32, 1)
            assert set(np.unique(batch["region"])) == {0.0, 1.0} and batch["region"].dtype == np.float32
            assert ((batch["target"] > 0) == (batch["region"] == 1)).mean() > 0.97
            np.testing.assert_allclose(batch["source"][..., 2:], batch["target"], atol=1e-6)
            np.testing.assert_allclose(to_unit(batch["source"][..., :1]) * 2, to_unit(batch["source"][..., 1:2]), atol=1e-6)
    batch = next(iter(pipeline.eval_batches(deep, [0, 1], batch_size=2, image_size=24)))
    assert set(batch) == {"source", "target", "region", "index", "mask"}
    assert batch["region"].mean() == pytest.approx(disc.mean(), abs=0.01)
    good = Source("good", source.records, lambda i: {"target": disc * 1.0, "region": disc * 1.0})
    noisy = next(pipeline.train_batches(good, range(COUNT), **SMALL)(0))
    assert set(noisy) == {"source", "target", "region", "index"}
