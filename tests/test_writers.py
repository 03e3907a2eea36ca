"""Rows that come back to the bit, files that survive a kill, sheets that show what they are given."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from PIL import Image

from medjax.types import DataError
from medjax.writers import METRICS, Writer, read_metrics, sample_sheet, truncate


def write_rows(workdir, steps, **options):
    with Writer(workdir, tensorboard=False, **options) as writer:
        for step in steps:
            writer.scalars(step, "train", {"loss": np.float32(1) / np.float32(step + 3)}, {"images_per_s": 3.5})


def test_every_float32_comes_back_to_the_bit(tmp_path):
    bits = np.random.default_rng(0).integers(0, 2**32, 2000, dtype=np.uint32)
    values = bits.view(np.float32)
    values = values[np.isfinite(values)]
    with Writer(tmp_path, tensorboard=False) as writer:
        writer.scalars(1, "train", {str(i): v for i, v in enumerate(values)})
    row = read_metrics(tmp_path)[0]
    back = np.array([row[str(i)] for i in range(len(values))], np.float32)
    np.testing.assert_array_equal(back.view(np.uint32), values.view(np.uint32))


def test_jax_scalars_are_taken(tmp_path):
    jnp = pytest.importorskip("jax.numpy")
    with Writer(tmp_path, tensorboard=False) as writer:
        writer.scalars(1, "train", {"loss": jnp.float32(0.1), "count": jnp.int32(3), "half": jnp.bfloat16(0.5)})
    assert read_metrics(tmp_path)[0] == {
        "step": 1,
        "split": "train",
        "loss": float(np.float32(0.1)),
        "count": 3,
        "half": 0.5,
    }


def test_what_is_not_finite_stays_valid_json(tmp_path):
    with Writer(tmp_path) as writer:
        writer.scalars(1, "train", {"a": math.nan, "b": np.float32(np.inf), "c": 1.0})
    line = (tmp_path / METRICS).read_text()
    assert json.loads(line, parse_constant=pytest.fail) == {"step": 1, "split": "train", "a": None, "b": None, "c": 1.0}
    assert math.isnan(read_metrics(tmp_path)[0]["a"])


def test_a_row_is_on_disk_before_the_next_step(tmp_path):
    with Writer(tmp_path, tensorboard=False) as writer:
        writer.scalars(7, "validation", {"psnr": 30.0})
        assert read_metrics(tmp_path / METRICS) == [{"step": 7, "split": "validation", "psnr": 30.0}]


@pytest.mark.parametrize("cut", [1, 10, 30])
def test_resuming_after_a_kill_gives_the_file_of_an_unbroken_run(tmp_path, cut):
    write_rows(tmp_path / "whole", range(1, 9))
    write_rows(tmp_path / "killed", range(1, 7), resume_step=0)
    broken = tmp_path / "killed" / METRICS
    broken.write_bytes(broken.read_bytes()[:-cut])
    write_rows(tmp_path / "killed", range(5, 9), resume_step=4)
    assert broken.read_bytes() == (tmp_path / "whole" / METRICS).read_bytes()


def test_a_fresh_start_drops_the_rows_of_a_run_that_saved_nothing(tmp_path):
    write_rows(tmp_path, range(1, 4), resume_step=0)
    write_rows(tmp_path, range(1, 3), resume_step=0)
    assert [row["step"] for row in read_metrics(tmp_path)] == [1, 2]


def test_without_a_step_only_the_torn_line_goes(tmp_path):
    write_rows(tmp_path, range(3))
    with open(tmp_path / METRICS, "a") as file:
        file.write('{"step": 3, "spl')
    assert [row["step"] for row in read_metrics(tmp_path)] == [0, 1, 2]
    assert truncate(tmp_path / METRICS, None) == len('{"step": 3, "spl')
    assert truncate(tmp_path / METRICS, None) == 0
    assert truncate(tmp_path / "absent.jsonl", 3) == 0


def test_a_spoilt_line_in_the_middle_is_named(tmp_path):
    (tmp_path / METRICS).write_text('{"step": 1, "split": "train"}\nnonsense\n{"step": 2, "split": "train"}\n')
    with pytest.raises(DataError, match=r"metrics\.jsonl: line 2"):
        read_metrics(tmp_path)


def test_no_file_is_no_rows(tmp_path):
    assert read_metrics(tmp_path) == []


def test_a_metric_cannot_take_a_column_of_the_row(tmp_path):
    with Writer(tmp_path, tensorboard=False) as writer, pytest.raises(ValueError, match="'step'"):
        writer.scalars(1, "train", {"step": 2})


def test_tensorboard_holds_scalars_and_images(tmp_path):
    with Writer(tmp_path) as writer:
        writer.scalars(5, "train", {"loss": 0.25}, {"images_per_s": 8.0})
        writer.images(5, "validation", {"source": np.zeros((2, 8, 8, 1))})
    written = b"".join(p.read_bytes() for p in (tmp_path / "tensorboard").glob("events*"))
    assert b"train/loss" in written and b"time/images_per_s" in written and b"validation" in written


def test_a_sheet_shows_each_pixel_magnified_by_a_whole_factor(tmp_path):
    picture = np.random.default_rng(0).random((3, 40, 40, 1))
    sheet = sample_sheet({"source": picture, "target": 1 - picture}, min_side=80, gap=4)
    expected = np.rint(picture * 255).astype(np.uint8)[..., 0].repeat(2, axis=1).repeat(2, axis=2)
    header = sheet.shape[0] - 3 * 84
    for row in range(3):
        y = header + row * 84
        np.testing.assert_array_equal(sheet[y : y + 80, 4:84], expected[row])
    with Writer(tmp_path, tensorboard=False) as writer:
        path = writer.images(123, "validation", {"source": picture})
    assert path.name == "validation_000123.png" and Image.open(path).mode == "L"


def test_a_sheet_has_a_fixed_range_and_takes_colour_and_several_sizes():
    grey, colour = np.full((2, 16, 24, 1), 2.0), np.zeros((2, 64, 64, 3))
    sheet = sample_sheet({"image": grey, "attention": colour}, labels=["a", "b"])
    assert sheet.ndim == 3 and set(np.unique(sheet[-60:-40, 10:60])) <= {255}
    with pytest.raises(ValueError, match="one N"):
        sample_sheet({"a": grey, "b": colour[:1]})
