"""IDX files are read as published and refused when damaged; drawn digits look like what they are."""

from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest

from medjax.data import idx, pipeline
from medjax.types import ConfigError, DataError


def packed(values, code=8):
    """The bytes of an IDX file, after its published description."""
    return b"\0\0" + bytes([code, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


@pytest.fixture
def mnist(tmp_path):
    """Both sets, one compressed, one not; every image's sum tells its number."""
    rng = np.random.default_rng(0)
    for prefix, count, suffix in (("train", 6, ".gz"), ("t10k", 3, "")):
        images, labels = rng.integers(0, 256, (count, 28, 28), np.uint8), (np.arange(count) % 10).astype(np.uint8)
        for name, values in ((f"{prefix}-images-idx3-ubyte", images), (f"{prefix}-labels-idx1-ubyte", labels)):
            data = packed(values)
            (tmp_path / (name + suffix)).write_bytes(gzip.compress(data) if suffix else data)
    return tmp_path


@pytest.mark.parametrize(("code", "kind"), [(8, ">u1"), (9, ">i1"), (11, ">i2"), (12, ">i4"), (13, ">f4"), (14, ">f8")])
def test_every_type_of_the_format(tmp_path, code, kind):
    values = (np.arange(24).reshape(2, 3, 4) * (-3 if kind != ">u1" else 3)).astype(kind)
    (tmp_path / "a").write_bytes(packed(values, code))
    found = idx.read_idx(tmp_path / "a")
    np.testing.assert_array_equal(found, values)
    assert found.dtype == np.dtype(kind[1:]).newbyteorder("=")


def test_mnist_as_distributed(mnist):
    source = idx.digits(mnist)
    assert (source.kind, len(source), source.paired) == ("mnist", 9, True)
    assert [r.extra["set"] for r in source.records] == ["train"] * 6 + ["test"] * 3
    assert source.records[7].labels == ("1",) and source.records[7].name == "test_00001"
    image, stored = source.load(7)["target"], idx.read_idx(mnist / "t10k-images-idx3-ubyte")[1]
    assert image.shape == (32, 32, 1) and (image[:2] == 0).all() and (image[:, -2:] == 0).all()
    np.testing.assert_array_equal(np.rint(image[2:-2, 2:-2, 0] * 255), stored)


def test_pairs_of_digits(mnist):
    for root in (mnist, ""):
        plain, negative = idx.digits(root, count=12), idx.digits(root, count=12, pair="inverted")
        first, again = plain.load(3), plain.load(3)
        np.testing.assert_array_equal(first["source"], again["source"])
        np.testing.assert_array_equal(negative.load(3)["source"], 1 - negative.load(3)["target"])
        np.testing.assert_array_equal(negative.load(3)["target"], first["target"])
        assert 0.05 < np.abs(first["source"] - first["target"]).mean() < 0.5
        assert np.corrcoef(first["source"].ravel(), first["target"].ravel())[0, 1] > 0.3
        batch = next(pipeline.train_batches(plain, range(6), batch_size=4, image_size=32, crop_size=None, flip=False)(0))
        assert batch["source"].shape == (4, 32, 32, 1) and batch["source"].min() >= -1


def test_drawn_digits_can_be_told_apart():
    """Nearest neighbour among others' drawings names the digit, which twenty copies of one bitmap would not test."""
    images = np.stack([idx.draw_digit(i % 10, seed=0, index=i) for i in range(400)]).reshape(400, -1) / 255
    distance = ((images[:100, None] - images[None, 100:]) ** 2).sum(-1)
    assert distance.min() > 0.1  # no two alike
    assert (distance.argmin(1) % 10 == np.arange(100) % 10).mean() > 0.85
    np.testing.assert_array_equal(idx.draw_digit(3, seed=5, index=2), idx.draw_digit(3, seed=5, index=2))
    assert (idx.draw_digit(3, seed=5, index=2) != idx.draw_digit(3, seed=6, index=2)).any()


def test_drawn_digits_lie_as_in_mnist():
    for i in range(30):
        image = idx.draw_digit(i % 10, seed=1, index=i).astype(float)
        rows, columns = (np.flatnonzero(image.sum(axis)) for axis in (1, 0))
        assert max(np.ptp(rows), np.ptp(columns)) + 1 <= 20 and image.max() > 200
        centre = [(image.sum(1 - axis) * np.arange(28)).sum() / image.sum() for axis in (0, 1)]
        np.testing.assert_allclose(centre, 13.5, atol=0.51)


BAD = [
    (lambda good: b"", "starts with nothing"), (lambda good: b"\x89PNG" + good, "not an IDX file"),
    (lambda good: b"\0\0\7\3" + good[4:], "not an IDX file"), (lambda good: good[:9], "cut short in its header"),
    (lambda good: good[:-5], "header says"), (lambda good: good + b"x", "more values"),
    (lambda good: good[:4] + struct.pack(">III", 2**31, 2**31, 28) + good[16:], "not believable"),
    (lambda good: good[:4] + struct.pack(">III", 0, 28, 28) + good[16:], "not believable"),
]  # fmt: skip


@pytest.mark.parametrize(("spoil", "cause"), BAD)
@pytest.mark.parametrize("compress", [False, True])
def test_damaged_files(tmp_path, spoil, cause, compress):
    good = packed(np.zeros((4, 28, 28), np.uint8))
    path = tmp_path / ("a.gz" if compress else "a")
    path.write_bytes(gzip.compress(spoil(good)) if compress else spoil(good))
    with pytest.raises(DataError, match=cause) as caught:
        idx.read_idx(path)
    assert str(path) in str(caught.value)


def test_folders_that_are_no_mnist(mnist, tmp_path):
    compressed = mnist / "train-images-idx3-ubyte.gz"
    whole = compressed.read_bytes()
    for spoilt in (whole[: len(whole) // 2], b"no gzip", whole[:200] + b"\0" * 50 + whole[250:]):
        compressed.write_bytes(spoilt)
        with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz is cut short or damaged"):
            idx.digits(mnist)
    compressed.write_bytes(gzip.compress(packed(np.zeros((6, 20, 20), np.uint8))))
    with pytest.raises(DataError, match=r"uint8 \[n, 28, 28\]"):
        idx.digits(mnist)
    compressed.write_bytes(gzip.compress(packed(np.zeros((5, 28, 28), np.uint8))))
    with pytest.raises(DataError, match=r"one digit from 0 to 9 for each of the 5"):
        idx.digits(mnist)
    (mnist / "train-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match="no labels beside it"):
        idx.digits(mnist)
    (tmp_path / "empty").mkdir()
    for root in (tmp_path / "empty", tmp_path / "absent"):
        with pytest.raises(DataError, match=root.name):
            idx.digits(root)
    for wrong in ({"pair": "rotated"}, {"count": 0}):
        with pytest.raises(ConfigError):
            idx.digits("", **wrong)
