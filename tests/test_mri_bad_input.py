"""Pairs of volumes that cannot be used: one sentence that names the file and the cause."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
from heads import COARSE, opened, save, save_pair

from medjax.types import ConfigError, DataError


def test_subjects_with_one_contrast_are_listed(tmp_path):
    save_pair(tmp_path, "a")
    for name in "bcde":
        save(tmp_path / f"{name}-T1.nii.gz", "T1", **COARSE)
    save(tmp_path / "z-T2.nii.gz", "T2", **COARSE)
    told = r"4 of 5 subjects have T1 but no T2: b, c, d, \.\.\.; 1 of 2 subjects have T2 but no T1: z"
    with pytest.raises(DataError, match=told):
        opened(tmp_path)
    source = opened(tmp_path, missing="skip")
    assert {r.patient for r in source.records} == {"a"} and any("left out" in note for note in source.notes)


def replaced(root, **change):
    """The T2 of subject a with another array or affine, written past the checks of `write_volume`."""
    path = root / "a-T2.nii.gz"
    image = nibabel.load(path)
    values = change.get("values", lambda x: x)(image.get_fdata(dtype=np.float32))
    made = nibabel.Nifti1Image(values, None)
    for row, name in enumerate(("srow_x", "srow_y", "srow_z")):
        made.header[name] = change.get("affine", image.affine)[row]
    made.header["sform_code"], made.header["qform_code"] = 1, 0
    made.to_filename(path)


def spoilt(x):
    x[3, 4, 5] = np.nan
    return x


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"values": lambda x: np.stack([x, x], -1)}, "4-D"), ({"values": lambda x: x * 0}, "nothing but zeros"),
        ({"values": spoilt}, "NaN"), ({"affine": np.diag([3.0, 0, 3, 1])}, "singular affine"),
        ({"values": lambda x: x[..., 0]}, "2-D"), ({"values": lambda x: np.full_like(x, 5)}, "shows no head"),
    ],
)  # fmt: skip
def test_a_volume_that_cannot_be_used_is_named(tmp_path, change, cause):
    save_pair(tmp_path, "a")
    replaced(tmp_path, **change)
    with pytest.raises(DataError, match=cause) as caught:
        opened(tmp_path)
    assert "a-T2.nii.gz" in str(caught.value) and "\n" not in str(caught.value)


def test_what_else_cannot_be_used(tmp_path):
    three = tmp_path / "three"
    for name in ("a", "b", "c"):
        save_pair(three, name)
    with pytest.raises(DataError, match="absent"):
        opened(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"no file NAME-T1"):
        opened(tmp_path)
    save_pair(tmp_path, "a")
    save_pair(tmp_path, "a", flat=False)
    with pytest.raises(DataError, match=r"a-T1.* and .*a-T1.* are both the T1 of a"):
        opened(tmp_path)
    with pytest.raises(DataError, match="no slice of the 3 subjects"):
        opened(three, range_mm=(300, 400))
    with pytest.raises(DataError, match="no subject"):
        opened(three, subjects="nobody")
    (tmp_path / "cut").mkdir()
    save_pair(tmp_path / "cut", "a")
    whole = (tmp_path / "cut" / "a-T1.nii.gz").read_bytes()
    (tmp_path / "cut" / "a-T1.nii.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"a-T1\.nii\.gz"):
        opened(tmp_path / "cut")
    for wrong in (
        {"plane": "oblique"}, {"direction": ("T1", "T1")}, {"registration": "hope"}, {"mask": "by eye"}, {"context": -1},
        {"percentiles": (99, 1)}, {"subjects": "("}, {"missing": "maybe"}, {"range_mm": (3, -3)},
    ):  # fmt: skip
        with pytest.raises(ConfigError):
            opened(three, **wrong)
