"""Images kept in fewer bytes: the same bits come back, and nothing begins that does not fit."""

from __future__ import annotations

import numpy as np
import pytest

from medjax import formats
from medjax.data import choice, packed
from medjax.data.packed import Packed, pack, unpack
from medjax.types import ConfigError


@pytest.mark.parametrize("largest", packed.LARGEST)
def test_every_stored_value_comes_back_to_the_bit(largest, tmp_path):
    values = np.arange(largest + 1).astype(np.uint8 if largest == 255 else np.uint16).reshape(-1, 2 if largest == 255 else 4, 1)
    image = values.astype(np.float32) / np.float32(largest)
    small = pack(image)
    assert small.largest == largest and small.values.dtype == values.dtype
    np.testing.assert_array_equal(small.values, values)
    assert unpack(small).tobytes() == image.tobytes()


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_what_is_read_of_files_takes_the_files_own_depth(dtype, tmp_path):
    image = np.random.default_rng(0).random((20, 30, 1), dtype=np.float32)
    formats.write(tmp_path / "a.png", image, formats.encoding("png", dtype))
    read = formats.read(tmp_path / "a.png")[0]
    assert pack(read).values.dtype == dtype and unpack(pack(read)).tobytes() == read.tobytes()


def test_what_is_no_stored_value_stays_as_it_is():
    image = np.random.default_rng(0).random((9, 9, 1), dtype=np.float32)
    nearly = np.full((4, 4, 1), 0.2, np.float32)
    nearly[3, 3] = np.nextafter(np.float32(0.2), np.float32(1))
    for kept in (image, nearly, np.full((2, 2, 1), -0.0, np.float32)):
        assert pack(kept).largest == 0 and unpack(pack(kept)) is kept


def test_the_size_of_a_set_counts_each_image_once():
    images = [np.full((10, 10 + i, 1), i / 255, np.float32) for i in range(4)]
    load = lambda i: {"target": images[i], "source": images[i] * np.float32(0.1)}
    assert packed.size_of(load, [0, 1, 1, 1, 2, 3]) == sum(100 + 10 * i for i in range(4)) + sum(
        pack(images[i] * np.float32(0.1)).values.nbytes for i in range(4)
    )
    with pytest.raises(ConfigError, match=r"3 decoded images take 2\.5 MB, and memory has 1\.0 MB free"):
        packed.check_room(2_500_000, 1_000_000, 3, "memory")
    assert 0 < packed.free_memory() < 1 << 50


def test_control_groups_leave_what_the_tightest_of_them_has(tmp_path):
    """As in a job of Slurm: the limit is that of the job's group; files that the system keeps in memory are not in the way."""
    for folder, sizes in {"job": (1000, 700, 400), "job/step": ("max", 650, 0), "memory/old": (900, 300, 100)}.items():
        group = tmp_path / folder
        group.mkdir(parents=True)
        names = ("memory.max", "memory.current") if "old" not in folder else ("memory.limit_in_bytes", "memory.usage_in_bytes")
        for name, size in zip(names, sizes, strict=False):
            (group / name).write_text(f"{size}\n")
        (group / "memory.stat").write_text(f"anon 5\n{'total_' * ('old' in folder)}inactive_file {sizes[2]}\n")
    assert packed.group_memory(tmp_path, "0::/job/step") == [700]
    assert packed.group_memory(tmp_path, "7:cpu,memory:/old\n3:cpu:/old\n0::/") == [700]
    assert packed.group_memory(tmp_path, "0::/absent") == []


def test_stacks_are_as_deep_as_the_deepest_image():
    """40 images, of which the one that the sample does not see has 16 bits: no level of it is lost, nor of the others."""
    images = [np.full((3, 3, 1), i / 255, np.float32) for i in range(40)]
    assert packed.stacked(lambda i: {"target": images[i]}, range(40), room=1 << 20, where="here")["target"].dtype == np.uint8
    images[7] = np.full((3, 3, 1), 7 / 65535, np.float32)
    assert 7 not in choice.thinned(range(40), packed._SAMPLE)
    stack = packed.stacked(lambda i: {"target": images[i]}, range(40), room=1 << 20, where="here", threads=2)["target"]
    assert stack.dtype == np.uint16 and stack.shape == (40, 3, 3, 1)
    for row, image in zip(stack, images, strict=True):
        assert unpack(Packed(row, 65535)).tobytes() == image.tobytes()


def test_stacks_that_cannot_be():
    images = [np.zeros((4, 4, 1), np.float32), np.zeros((4, 5, 1), np.float32)]
    load = lambda i: {"target": images[i]}
    with pytest.raises(ConfigError, match="there are target 4 x 4 and target 4 x 5; set a size to resize them to"):
        packed.stacked(load, [0, 1], room=1 << 20, where="memory")
    with pytest.raises(ConfigError, match=r"2 decoded images take 0\.0 MB, and the device has 0\.0 MB free"):
        packed.stacked(load, [0, 0], room=31, where="the device")
