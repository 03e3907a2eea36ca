"""Inputs of fewer pixels: reduced as stated, cropped where their targets are, and the same in every resumed run."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from medjax import baselines
from medjax.build import data as build_data
from medjax.build.degradation import degradation_of
from medjax.data import degrade as d
from medjax.data import pipeline, sources
from medjax.data.balance import oversampled
from medjax.data.degrade import Degradation
from medjax.data.records import Record, Source
from medjax.types import ConfigError, DataError, to_signed, to_unit

COUNT, SIDE, SCALE = 5, 48, 4
REDUCED = Degradation(("downsample",), {"downsample": {"factor": SCALE}})
NOISY = Degradation(("gaussian_blur", "downsample", "gaussian_noise", "jpeg"), {"downsample": {"factor": SCALE}})
EARLY = Degradation(("gaussian_noise", "downsample"), {"downsample": {"factor": SCALE}})
CROPS = {"batch_size": 2, "image_size": SIDE, "crop_size": 24, "seed": 3}


def rough(seed, side=SIDE):
    return np.random.default_rng(seed).random((side, side, 1), dtype=np.float32)


@pytest.fixture(scope="module")
def source():
    records = tuple(Record(f"{i}.png", str(i), paths=(f"folder/{i}.png",)) for i in range(COUNT))
    return Source("made", records, lambda i: {"target": rough(i)})


def take(batches, start, count):
    return [batch for batch, _ in zip(batches(start), range(count), strict=False)]


def assert_same(first, second):
    for a, b in zip(first, second, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])


def keys_cubic(x, a=-0.5):
    """The cubic convolution kernel of Keys 1981, eq. 15."""
    x = np.abs(x)
    near, far = (a + 2) * x**3 - (a + 3) * x**2 + 1, a * (x**3 - 5 * x**2 + 8 * x - 4)
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def reduced_by_hand(image, factor):
    """Bicubic, the kernel `factor` times as wide, windows cut at the border and of unit sum."""
    out = np.asarray(image[..., 0], np.float64)
    for _ in range(2):
        n = out.shape[0]
        centres = (np.arange(n // factor) + 0.5) * factor - 0.5
        weights = keys_cubic((np.arange(n)[None] - centres[:, None]) / factor)
        out = ((weights / weights.sum(1, keepdims=True)) @ out).T
    return out.clip(0, 1)


@pytest.mark.parametrize("factor", [2, 3, 4, 8])
def test_downsample_is_antialiased_bicubic(factor):
    image = rough(1)
    found = d.downsample(image, None, factor=factor)
    assert found.shape == (SIDE // factor, SIDE // factor, 1) and found.dtype == np.float32
    np.testing.assert_allclose(found[..., 0], reduced_by_hand(image, factor), atol=2e-6)


def test_a_factor_that_does_not_divide_is_refused_with_the_size():
    with pytest.raises(DataError, match="48 x 48 pixels cannot be reduced by 5"):
        d.downsample(rough(0), None, factor=5)
    assert (REDUCED.scale, NOISY.scale, Degradation().scale) == (4, 4, 1)
    assert Degradation(("downsample", "jpeg", "downsample"), {"downsample": {"factor": 2}}).scale == 4
    with pytest.raises(ConfigError, match="one whole factor"):
        Degradation(("downsample",), {"downsample": {"factor": (2, 4)}})
    with pytest.raises(ConfigError, match="no size of its own"):
        Degradation(("downsample",), {}, 64)


def test_which_steps_draw_nothing():
    assert [x.fixed for x in (REDUCED, NOISY, EARLY)] == [1, 2, 0]
    wide = Degradation(("gaussian_blur", "downsample"), {"gaussian_blur": {"sigma": (0.5, 2.0)}})
    assert wide.fixed == 0, "a parameter drawn from a range is chance too"


@pytest.mark.parametrize("degradation", [REDUCED, NOISY, EARLY], ids=["reduced", "noisy", "early"])
def test_any_start_threads_and_cache_continue_to_the_bit(source, degradation):
    options = {**CROPS, "degradation": degradation}
    whole = take(pipeline.train_batches(source, range(COUNT), **options, threads=0), 0, 7)
    assert whole[0]["source"].shape == (2, 6, 6, 1) and whole[0]["target"].shape == (2, 24, 24, 1)
    for threads, cache_bytes in ((0, 0), (2, 1 << 30), (2, 10_000)):
        batches = pipeline.train_batches(source, range(COUNT), **options, threads=threads, cache_bytes=cache_bytes)
        assert_same(take(batches, 3, 4), whole[3:])


def places(batch, i, align):
    """(row, column) of the crop in its image, both in target pixels."""
    whole, crop = to_signed(rough(int(batch["index"][i]))), batch["target"][i]
    for image in (whole, whole[:, ::-1]):
        found = [
            (r, c, image is whole)
            for r in range(0, SIDE - 23, align)
            for c in range(0, SIDE - 23, align)
            if np.array_equal(image[r : r + 24, c : c + 24], crop)
        ]
        if found:
            return found[0]
    raise AssertionError("the target is no aligned crop of its image")


@pytest.mark.parametrize("align", [1, 8])
def test_crops_of_the_reduced_whole_image_lie_where_the_target_is(source, align):
    """Not the crop reduced: at its edges that would be another image."""
    batches = pipeline.train_batches(source, range(COUNT), **CROPS, degradation=REDUCED, crop_align=align)
    seen = set()
    for batch in take(batches, 0, 12):
        for i in range(2):
            r, c, straight = places(batch, i, max(align, SCALE))
            small = to_signed(d.downsample(rough(int(batch["index"][i])), None, factor=SCALE))
            small = small if straight else small[:, ::-1]
            expected = small[r // SCALE : r // SCALE + 6, c // SCALE : c // SCALE + 6]
            np.testing.assert_allclose(batch["source"][i], expected, atol=1e-6)
            seen.add((r, c))
    assert len(seen) > 5 and all(r % max(align, SCALE) == 0 for place in seen for r in place)


def test_noise_after_the_reduction_is_drawn_in_every_epoch(source):
    options = {**CROPS, "batch_size": 1, "crop_size": SIDE, "flip": False}
    noise = Degradation(("downsample", "gaussian_noise"), {"downsample": {"factor": SCALE}, "gaussian_noise": {"sigma": 10.0}})
    clear = d.downsample(rough(2), None, factor=SCALE)
    first, second = take(pipeline.train_batches(source, [2], **options, degradation=noise), 0, 2)
    left, right = (to_unit(batch["source"][0]) - clear for batch in (first, second))
    assert abs(left - right).max() > 0.02 and np.std(left) * 255 == pytest.approx(10, rel=0.2)
    batches = pipeline.eval_batches(source, [2, 0], batch_size=2, image_size=SIDE, degradation=noise)
    assert_same(list(batches), list(batches))


def test_evaluation_sees_the_whole_reduced_image(source):
    batch = next(iter(pipeline.eval_batches(source, [1], batch_size=1, image_size=24, degradation=REDUCED, threads=0)))
    assert batch["source"].shape == (1, 6, 6, 1) and batch["target"].shape == (1, 24, 24, 1)
    expected = reduced_by_hand(to_unit(batch["target"][0]), SCALE)
    np.testing.assert_allclose(to_unit(batch["source"][0, ..., 0]), expected, atol=2e-6)


def test_sizes_that_the_scale_does_not_divide_are_named(source, tmp_path):
    for wrong in ({"image_size": 50}, {"crop_size": 22}):
        with pytest.raises(ConfigError, match=r"(image|crop)_size (50|22) is no multiple of the scale 4"):
            pipeline.train_batches(source, range(COUNT), **{**CROPS, **wrong}, degradation=REDUCED)
    Image.fromarray(np.zeros((40, 30), np.uint8)).save(tmp_path / "odd.png")
    native = pipeline.train_batches(
        sources.folder(tmp_path), [0], batch_size=1, image_size=None, crop_size=16, degradation=REDUCED, threads=0
    )
    with pytest.raises(DataError, match=r"odd\.png is 40 x 30, which a scale of 4 does not divide"):
        next(native(0))


def test_the_scale_of_a_config_is_the_factor(tiny):
    config = tiny(name="esrgan:tiny")
    data = build_data.open_data(config)
    assert data.degradation.scale == config.data.scale == 4 and data.degradation.params["downsample"]["resampler"] == "bicubic"
    config = tiny("data.scale=2", "data.degradation.downsample.resampler=lanczos", name="esrgan:tiny")
    batch = next(build_data.train_batches(config, build_data.open_data(config))(0))
    assert batch["source"].shape[1] * 2 == batch["target"].shape[1]


@pytest.mark.parametrize(
    "overrides, told",
    [
        (["data.scale=3"], "image_size is 32, which config.data.scale = 3 does not divide"),
        (["data.crop_size=30"], "crop_size is 30"),
        (["data.load_size=38"], "load_size is 38"),
        (["data.scale=0"], "whole number from 1 on"),
        (["data.scale=1"], "downsample 1 times, where it belongs once, at a scale above 1"),
        (["data.degradation.steps=('gaussian_noise',)"], "downsample 0 times, where it belongs once, as config.data.scale is 4"),
        (["data.degradation.steps=('downsample','downsample')"], "downsample 2 times"),
        (["data.degradation.size=32"], "degradation.size has no meaning"),
        (["data.degradation.downsample.resampler=cubic"], "'cubic', which is none of nearest, box"),
        (["data.prefilter=mean"], "'mean', which is none of median, gaussian"),
    ],
)
def test_a_scale_that_does_not_fit_is_refused_before_anything_is_read(tiny, overrides, told):
    with pytest.raises(ConfigError, match=told):
        build_data.open_data(tiny(*overrides, name="esrgan:tiny"))


def test_pairs_bring_inputs_of_their_own_size(tiny):
    paired = Source("pairs", (Record("a", "a"),), lambda i: {}, paired=True)
    with pytest.raises(ConfigError, match="pairs brings its own inputs, as large as its targets"):
        degradation_of(tiny(name="esrgan:tiny"), paired)


def test_upscalers_undo_the_geometry_of_the_reduction():
    """A straight ramp, reduced and enlarged, lies where it lay: half a pixel of shift would be seen."""
    ramp = np.linspace(0.2, 0.8, 64, dtype=np.float32)[None, :, None].repeat(64, 0)
    small = d.downsample(ramp, None, factor=4)
    for name, row in baselines.bind({name: {"factor": 4} for name in baselines.UPSCALERS}).items():
        large = row(small)
        assert large.shape == ramp.shape
        if name == "nearest":
            np.testing.assert_array_equal(large, small.repeat(4, 0).repeat(4, 1))
        else:
            np.testing.assert_allclose(large[:, 12:-12], ramp[:, 12:-12], atol=1e-3)
            assert abs((large - ramp)[:, 12:-12].mean()) < 1e-5


# ------------------------------------------------------------------------------------------ balance and filters


def test_small_groups_are_repeated_until_all_are_equal():
    groups = [*"aaaaaaa", *"bbb", "c"]
    balanced = oversampled(groups, range(1, 11), seed=4)
    drawn = [groups[i] for i in balanced.indices]
    assert {g: drawn.count(g) for g in "abc"} == {"a": 6, "b": 6, "c": 6}
    assert balanced.counts == {"a": 6, "b": 3, "c": 1} and balanced.factors == {"a": 1.0, "b": 2.0, "c": 6.0}
    assert "c x6 of 1 images" in balanced.note() and 0 not in balanced.indices
    np.testing.assert_array_equal(balanced.indices, oversampled(groups, range(1, 11), seed=4).indices)
    uneven = [oversampled("aaaaabbb", range(8), seed=s).indices[5:].tolist() for s in range(6)]
    assert all(len(part) == 5 and {5, 6, 7} == set(part) for part in uneven) and len({tuple(p) for p in uneven}) > 1
    with pytest.raises(DataError, match="no images to balance"):
        oversampled([], [])


def test_a_repeated_image_has_an_augmentation_of_its_own(source):
    options = {**CROPS, "batch_size": 4, "degradation": NOISY}
    (batch,) = take(pipeline.train_batches(source, [1, 1, 1, 1], **options), 0, 1)
    assert len({crop.tobytes() for crop in batch["target"]}) > 1 and set(batch["index"]) == {1}
    plain = next(pipeline.train_batches(source, [1], **{**options, "batch_size": 1})(0))
    assert any(np.array_equal(plain["target"][0], crop) for crop in batch["target"]), "the first occurrence is as without any"


def test_what_is_known_of_each_record_comes_with_its_image(source):
    columns = {"age": np.linspace(0, 1, COUNT).astype(np.float32), "sex": np.arange(COUNT, dtype=np.int32) % 2}
    for batch in take(pipeline.train_batches(source, range(COUNT), **CROPS, columns=columns), 0, 3):
        np.testing.assert_array_equal(batch["age"], columns["age"][batch["index"]])
        assert batch["sex"].dtype == np.int32 and batch["sex"].tolist() == (batch["index"] % 2).tolist()


def test_the_prefilter_touches_inputs_alone(source):
    for kind, expected in (("median", ndimage.median_filter), ("gaussian", None)):
        options = {"batch_size": 1, "image_size": SIDE, "degradation": REDUCED, "threads": 0}
        plain, filtered = (next(iter(pipeline.eval_batches(source, [1], prefilter=p, **options))) for p in ("", kind))
        np.testing.assert_array_equal(plain["target"], filtered["target"])
        assert np.std(filtered["source"]) < 0.8 * np.std(plain["source"])
        if expected:
            by_hand = to_signed(expected(to_unit(plain["source"][0, ..., 0]), size=3, mode="reflect"))
            np.testing.assert_allclose(filtered["source"][0, ..., 0], by_hand, atol=1e-6)
    with pytest.raises(ConfigError, match="prefilter 'box' is none of"):
        pipeline.eval_batches(source, [1], batch_size=1, prefilter="box")


def test_a_filter_and_the_same_images_everywhere_are_said(tiny):
    data = build_data.open_data(tiny("data.prefilter=median", "data.self_supervised=True", name="esrgan:tiny"))
    assert any("inputs are filtered" in n and "targets are not" in n for n in data.source.notes)
    assert any(n.startswith("self-supervised") for n in data.source.notes)


def test_one_image_without_a_set_can_be_learnt_from(tiny, tmp_path):
    Image.fromarray((rough(0, 64)[..., 0] * 255).astype(np.uint8)).save(tmp_path / "only.png")
    one = ["data.source=folder", f"data.root={tmp_path}", "data.load_size=0", "data.image_size=64", "data.crop_size=32"]
    with pytest.raises(DataError, match="1 patients cannot be dealt into 3 splits"):
        build_data.open_data(tiny(*one, name="esrgan:tiny"))
    config = tiny(*one, "data.self_supervised=True", name="esrgan:tiny")
    data = build_data.open_data(config)
    assert {name: part.tolist() for name, part in data.splits.items()} == {"train": [0], "validation": [0], "test": [0]}
    batch = next(build_data.train_batches(config, data)(0))
    assert len({crop.tobytes() for crop in batch["target"]}) == len(batch["target"]), "crops of the one image differ"
    build_data.write_splits(data, tmp_path)
    assert len(build_data.open_data(config, tmp_path).splits["test"]) == 1
