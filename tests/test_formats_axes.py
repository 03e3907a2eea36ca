"""Axes turn without loss: a volume in any order and direction of axes is one volume."""

from __future__ import annotations

import itertools

import nibabel
import numpy as np
import pytest
from medical_files import nifti
from nibabel.orientations import aff2axcodes, apply_orientation, axcodes2ornt, inv_ornt_aff, ornt_transform

from medjax import formats
from medjax.types import DataError

RAS_AFFINE = nibabel.affines.from_matvec(
    nibabel.eulerangles.euler2mat(0.1, 0.05, -0.2) @ np.diag([1.0, 1.5, 2.0]), [-30.0, -40.0, 5.0]
)
CODES = [
    "".join(codes)
    for order in itertools.permutations(("RL", "AP", "SI"))
    for codes in itertools.product(*order)
]  # fmt: skip


@pytest.mark.parametrize("codes", CODES)
def test_every_axis_order_is_one_volume(tmp_path, codes):
    ras = np.arange(1, 7 * 6 * 5 + 1, dtype=np.float32).reshape(7, 6, 5)
    turn = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(codes))
    stored, affine = apply_orientation(ras, turn), RAS_AFFINE @ inv_ornt_aff(turn, ras.shape)
    assert "".join(aff2axcodes(affine)) == codes
    nifti(tmp_path / "a.nii", stored.astype(np.int16), affine)
    volume = formats.read_volume(tmp_path / "a.nii")
    assert volume.axcodes == codes
    turned = formats.to_ras(volume)
    assert turned.axcodes == "RAS"
    np.testing.assert_array_equal(turned.values, ras)
    np.testing.assert_allclose(turned.affine, RAS_AFFINE, atol=1e-5)
    np.testing.assert_array_equal(formats.from_ras(turned.values, volume), stored)
    formats.write_volume(tmp_path / "b.nii", formats.with_values(volume, formats.from_ras(turned.values * 2, volume)))
    np.testing.assert_array_equal(nibabel.load(tmp_path / "b.nii").get_fdata(), stored * 2)
    formats.write_volume(tmp_path / "c.nii", turned)
    np.testing.assert_allclose(nibabel.load(tmp_path / "c.nii").affine, RAS_AFFINE, atol=1e-4)


def test_48_codes_and_a_wrong_shape():
    assert len(set(CODES)) == 48
    volume = formats.plain(np.ones((3, 4, 5)), RAS_AFFINE)
    with pytest.raises(DataError, match="shape"):
        formats.from_ras(np.ones((4, 3, 5)), volume)
    with pytest.raises(DataError, match="singular"):
        formats.plain(np.ones((3, 4, 5)), np.diag([1.0, 0, 1, 1]))
    with pytest.raises(DataError, match="shape"):
        formats.plain(np.ones((3, 4)), RAS_AFFINE)
