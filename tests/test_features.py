"""Features of sets of images: extraction, merging, what a record says, the cache."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_network import pictures, tiny

from medjax.metrics import features, frechet, reference
from medjax.types import ConfigError, DataError

pytestmark = pytest.mark.usefixtures("quick_compile")


def between(x, y):
    return frechet.frechet(frechet.moments(x), frechet.moments(y))


def batches(images, size):
    return [images[start : start + size] for start in range(0, len(images), size)]


def test_extraction_pools_and_pads_and_does_not_depend_on_the_batches(capsys):
    images = pictures(11)
    expected = np.asarray(tiny(images)["map"], np.float64).mean((1, 2))
    sizes = []

    def counted(x):
        sizes.append(x.shape)  # once for each compilation
        return tiny(x)

    found = features.extract(counted, batches(images, 4), progress=False)
    assert sizes == [(4, 6, 8, 1)] and found["map"].n == 11
    np.testing.assert_allclose(found["map"].vectors, expected, rtol=1e-5)
    np.testing.assert_allclose(found["map"].moments.mean, expected.mean(0), rtol=1e-5)
    lean = features.extract(tiny, batches(images, 3), layers=["map"], keep=False, jit=False)
    assert list(lean) == ["map"] and lean["map"].vectors is None
    np.testing.assert_allclose(lean["map"].moments.scatter, found["map"].moments.scatter, rtol=1e-4)
    assert "features" in capsys.readouterr().err


def test_weights_bound_by_a_partial_are_arguments_and_not_constants():
    bound = jax.tree_util.Partial(lambda scale, x: {"x": x * scale}, jnp.float32(3))
    images = pictures(4)
    found = features.extract(bound, [images], progress=False)
    np.testing.assert_allclose(found["x"].vectors[:, 0], 3 * images.mean((1, 2, 3)), rtol=1e-5)


def test_moments_flow_through_in_bounded_pieces(monkeypatch):
    monkeypatch.setattr(features, "PENDING", 5)
    found = features.extract(tiny, batches(pictures(23), 4), keep=False, progress=False)
    vectors = np.asarray(tiny(pictures(23))["top"], np.float64)
    np.testing.assert_allclose(frechet.covariance(found["top"].moments), np.cov(vectors.T), rtol=1e-4)


@pytest.mark.filterwarnings("ignore:.*fewer than 2048")
def test_shards_join_to_one_pass():
    images = pictures(20)
    whole = features.extract(tiny, batches(images, 5), progress=False)
    shards = [features.extract(tiny, batches(part, 4), progress=False) for part in (images[:7], images[7:9], images[9:])]
    joined = features.joined(*shards)
    np.testing.assert_allclose(joined["top"].vectors, whole["top"].vectors, rtol=1e-6)
    other = features.extract(tiny, [pictures(20, 3)], progress=False)
    one, parts = (features.score(other, x, network="tiny", metrics=["fd"]) for x in (whole, joined))
    assert parts["fd/tiny.top"]["value"] == pytest.approx(one["fd/tiny.top"]["value"], rel=1e-6)


def test_extraction_names_the_bad_image_and_refuses_the_empty_set():
    images = pictures(6)
    images[4] = np.nan
    with pytest.raises(DataError, match="image 'e.png' at layer 'map'"):
        features.extract(tiny, batches(images, 2), names=[f"{c}.png" for c in "abcdef"], progress=False)
    with pytest.raises(DataError, match=r"image 4 \(counted from 0\)"):
        features.extract(tiny, batches(images, 4), progress=False)
    for empty in ([], [pictures(0)]):
        with pytest.raises(DataError, match="the set is empty"):
            features.extract(tiny, empty, progress=False)
    with pytest.raises(ConfigError, match="no layer 'pool3'; it has map, top"):
        features.extract(tiny, [pictures(2)], layers=["pool3"], progress=False)


@pytest.mark.filterwarnings("ignore:.*fewer than 2048")
def test_records_say_metric_network_layer_and_n():
    a, b = (features.extract(tiny, [pictures(n, s)], progress=False) for n, s in ((30, 0), (25, 1)))
    found = features.score(a, b, network="tiny", metrics=features.NAMES, preprocess="grey repeated", weights="random")
    assert set(found) == {f"{m}/tiny.{layer}" for m in features.NAMES for layer in ("map", "top")}
    record = found["kid/tiny.map"]
    assert record["n"] == [30, 25] and record["dimension"] == 3 and record["preprocess"] == "grey repeated"
    assert record["ci95"][0] < record["value"] < record["ci95"][1] and record["subset_size"] == 12
    assert "2048" in record["warning"]
    assert found["fd/tiny.top"]["value"] == pytest.approx(between(a["top"].vectors, b["top"].vectors), rel=1e-9)
    assert found["recall/tiny.top"]["k"] == 3 and found["coverage/tiny.top"]["k"] == 5
    json.dumps(found, allow_nan=False)
    same = features.score(a, a, network="tiny", metrics=["fd", "kid", "mmd"])
    assert all(abs(r["value"]) < 1e-3 for key, r in same.items() if not key.startswith("kid"))
    assert all(r["ci95"][0] <= 0 <= r["ci95"][1] for key, r in same.items() if key.startswith("kid"))


def test_the_word_fid_is_kept_for_its_network_layer_and_weights():
    name = lambda *args, **kw: features.key_of(*args, **kw)  # noqa: E731
    assert name("fd", "inception_v3", "pool3", published=True) == "fid/inception_v3.pool3"
    assert name("fd_infinity", "inception_v3", "pool3", published=True) == "fid_infinity/inception_v3.pool3"
    assert name("fd", "inception_v3", "pool3") == "fd/inception_v3.pool3"
    assert name("fd", "inception_v3", "pool2", published=True) == "fd/inception_v3.pool2"
    assert name("fd", "vgg16", "pool3", published=True) == "fd/vgg16.pool3"


def test_small_sets_are_warned_of_and_large_ones_not():
    a = features.extract(tiny, [pictures(12)], progress=False)
    with pytest.warns(UserWarning, match="12 images are fewer than 2048"):
        features.score(a, a, network="tiny", metrics=["fd"])
    assert features.bias_note(2048, 5000) == "" and "2047" in features.bias_note(9000, 2047)


@pytest.mark.filterwarnings("ignore:.*fewer than 2048")
def test_score_refuses():
    a = features.extract(tiny, [pictures(9)], progress=False)
    lean = features.extract(tiny, [pictures(9)], keep=False, progress=False)
    with pytest.raises(ConfigError, match="'fid'.*known: fd"):
        features.score(a, a, network="tiny", metrics=["fid"])
    with pytest.raises(DataError, match="were not kept"):
        features.score(a, lean, network="tiny", metrics=["fd", "kid"])
    with pytest.raises(ConfigError, match="no layer 'top'"):
        features.score({"map": a["map"]}, a, network="tiny", metrics=["fd"])
    one = features.extract(tiny, [pictures(1)], progress=False)
    with pytest.raises(DataError, match="at least 2 images, not 1"):
        features.score(a, one, network="tiny", metrics=["fd"])


# The cache


def test_the_fingerprint_follows_images_network_and_preparation_and_not_the_batches():
    images = pictures(7)
    key = reference.fingerprint(batches(images, 3), network="vgg16", preprocess="grey repeated")
    assert key == reference.fingerprint([images], preprocess="grey repeated", network="vgg16")
    changed = images.copy()
    changed[3, 2, 2] += 1e-3
    others = [
        reference.fingerprint([images], network="vgg19", preprocess="grey repeated"),
        reference.fingerprint([images], network="vgg16", preprocess="bilinear"),
        reference.fingerprint([changed], network="vgg16", preprocess="grey repeated"),
        reference.fingerprint([images[::-1]], network="vgg16", preprocess="grey repeated"),
        reference.fingerprint([images[:6]], network="vgg16", preprocess="grey repeated"),
        reference.fingerprint([images.swapaxes(1, 2)], network="vgg16", preprocess="grey repeated"),
    ]
    assert len({key, *others}) == 7
    with pytest.raises(DataError, match="empty"):
        reference.fingerprint([])


def test_statistics_are_computed_once_and_a_damaged_file_again(tmp_path):
    calls = []

    def compute():
        calls.append(1)
        return features.extract(tiny, [pictures(9)], progress=False)

    first = reference.cached(tmp_path / "cache", "abc", compute)
    again = reference.cached(tmp_path / "cache", "abc", compute)
    assert len(calls) == 1 and again["map"].n == 9
    for x, y in zip(jax.tree.leaves(first["top"].moments), jax.tree.leaves(again["top"].moments), strict=True):
        np.testing.assert_array_equal(x, y)
    np.testing.assert_array_equal(first["map"].vectors, again["map"].vectors)
    reference.cached(tmp_path / "cache", "abd", compute)
    assert len(calls) == 2
    (path,) = (tmp_path / "cache").glob("*abc.npz")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.warns(UserWarning, match="holds no statistics.*again"):
        reference.cached(tmp_path / "cache", "abc", compute)
    assert len(calls) == 3 and reference.load(path)["map"].n == 9


def test_a_file_that_holds_something_else_is_refused(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, **{"top/n": 4, "top/mean": np.zeros(3), "top/scatter": np.zeros((2, 2))})
    with pytest.raises(DataError, match="x.npz holds no statistics.*'top'"):
        reference.load(path)
    np.savez(path, **{"top/n": np.array([object()])})
    with pytest.raises(DataError, match="x.npz"):
        reference.load(path)  # objects need pickle, which is never read
    with pytest.raises(DataError, match="absent.npz"):
        reference.load(tmp_path / "absent.npz")
    lean = features.extract(tiny, [pictures(4)], keep=False, progress=False)
    reference.save(path, lean)
    assert reference.load(path)["map"].vectors is None
