"""NIfTI volumes come back as they were stored, on the grid they were on; what is no volume is one sentence."""

from __future__ import annotations

import gzip

import nibabel
import numpy as np
import pytest
from medical_files import nifti

from medjax import formats
from medjax.types import DataError

TURNED = nibabel.affines.from_matvec(
    nibabel.eulerangles.euler2mat(0.2, -0.1, 0.3) @ np.diag([-0.9, 0.8, 5.5]), [70.0, -100.5, 33.25]
)
SHAPE = (7, 6, 5)


def numbers(dtype: str) -> np.ndarray:
    kind = np.dtype(dtype)
    low, high = (-3.5, 1000.25) if kind.kind == "f" else (np.iinfo(kind).min, np.iinfo(kind).max)
    return np.linspace(float(low), float(high), int(np.prod(SHAPE))).clip(float(low), float(high)).astype(kind).reshape(SHAPE)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".NII.GZ"])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "float32"])
def test_storage_survives(tmp_path, dtype, suffix):
    stored = numbers(dtype)
    nifti(tmp_path / "a.nii", stored, TURNED, slope=0.5, inter=-20)
    source = tmp_path / f"b{suffix}"
    source.write_bytes((gzip.compress if "gz" in suffix.lower() else bytes)((tmp_path / "a.nii").read_bytes()))
    volume = formats.read_volume(source)
    assert volume.values.dtype == np.float32 and volume.affine.dtype == np.float64
    np.testing.assert_allclose(volume.values, stored.astype(float) * 0.5 - 20, rtol=1e-6)
    out = tmp_path / f"c{suffix.lower()}"
    formats.write_volume(out, volume)
    before, after = nibabel.load(tmp_path / "a.nii"), nibabel.load(out)
    exact = dict(rtol=0 if stored.dtype.kind in "iu" else 1e-6)  # real-world values are single precision
    np.testing.assert_allclose(np.asarray(after.dataobj.get_unscaled()), stored, **exact)
    np.testing.assert_array_equal(after.affine, before.affine)
    assert {k: before.header[k].tobytes() for k in before.header} == {k: after.header[k].tobytes() for k in after.header}
    assert (after.dataobj.slope, after.dataobj.inter) == (0.5, -20)


@pytest.mark.parametrize(
    ("kind", "order", "unit"), [("1", "<", "meter"), ("2", "<", "micron"), ("1", ">", "mm"), ("2", ">", "mm")]
)
def test_versions_byte_orders_and_units(tmp_path, kind, order, unit):
    classes = {"1": (nibabel.Nifti1Image, nibabel.Nifti1Header), "2": (nibabel.Nifti2Image, nibabel.Nifti2Header)}[kind]
    header = classes[1](endianness=order)
    header.set_data_dtype(np.int16)
    header.set_xyzt_units(unit)
    millimetre = {"meter": 1e-3, "micron": 1e3, "mm": 1.0}[unit]
    in_unit = np.diag([millimetre] * 3 + [1]) @ TURNED
    image = classes[0](numbers("int16"), in_unit, header)
    image.set_qform(in_unit, code=1)
    image.set_sform(in_unit, code=2)
    nibabel.save(image, tmp_path / "a.nii")
    volume = formats.read_volume(tmp_path / "a.nii")
    np.testing.assert_allclose(volume.affine, TURNED, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(volume.spacing, (0.9, 0.8, 5.5), rtol=1e-5)
    formats.write_volume(tmp_path / "b.nii.gz", volume)
    after = nibabel.load(tmp_path / "b.nii.gz")
    assert type(after) is classes[0] and after.header.endianness == order and after.header.get_xyzt_units()[0] == unit
    assert (int(after.header["qform_code"]), int(after.header["sform_code"])) == (1, 2)
    np.testing.assert_allclose(after.affine, nibabel.load(tmp_path / "a.nii").affine, rtol=1e-6)


def test_sform_before_qform_before_nothing(tmp_path):
    shifted = TURNED.copy()
    shifted[:3, 3] += 5
    image = nibabel.Nifti1Image(numbers("int16"), None)
    image.set_qform(TURNED, code=1)
    nibabel.save(image, tmp_path / "q.nii")
    np.testing.assert_allclose(formats.read_volume(tmp_path / "q.nii").affine, TURNED, atol=1e-4)
    image.set_sform(shifted, code=1)
    nibabel.save(image, tmp_path / "s.nii")
    np.testing.assert_allclose(formats.read_volume(tmp_path / "s.nii").affine, shifted, atol=1e-5)
    image.set_sform(None, code=0)
    image.set_qform(None, code=0)
    nibabel.save(image, tmp_path / "n.nii")
    with pytest.warns(UserWarning, match="does not state"):
        assert formats.read_volume(tmp_path / "n.nii").axcodes == "LAS"


def test_new_values_are_rounded_clipped_and_lose_the_old_window(tmp_path):
    nifti(tmp_path / "a.nii", numbers("uint8"), TURNED, slope=2.0, inter=10.0)
    volume = formats.read_volume(tmp_path / "a.nii")
    values = np.full(SHAPE, 101.2, np.float32)
    values[0], values[1] = -50, 9999
    header = volume.stored.header
    header["cal_max"] = 77
    formats.write_volume(tmp_path / "b.nii", formats.with_values(volume, values))
    after = nibabel.load(tmp_path / "b.nii")
    assert [int(after.dataobj.get_unscaled()[i, 0, 0]) for i in (0, 1, 2)] == [0, 255, 46] and after.header["cal_max"] == 0
    assert header["cal_max"] == 77
    for wrong in (np.full(SHAPE, np.nan, np.float32), np.zeros((2, 2, 2), np.float32)):
        with pytest.raises(DataError, match="NaN|shape"):
            formats.write_volume(tmp_path / "b.nii", formats.with_values(volume, wrong))
    assert nibabel.load(tmp_path / "b.nii").shape == SHAPE and not list(tmp_path.glob(".*"))


def test_equal_volumes_give_equal_files(tmp_path):
    volume = formats.plain(numbers("float32"), TURNED)
    for name in ("a.nii.gz", "b.nii.gz"):
        formats.write_volume(tmp_path / name, volume)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()
    header = nibabel.load(tmp_path / "a.nii.gz").header
    assert header.get_xyzt_units()[0] == "mm" and int(header["sform_code"]) == int(header["qform_code"]) == 1


def test_deidentified_headers_lose_their_texts(tmp_path):
    image = nibabel.Nifti1Image(numbers("int16"), TURNED)
    image.header["descrip"], image.header["db_name"] = b"Doe^Jane", b"Doe"
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"Mrs Doe"))
    nibabel.save(image, tmp_path / "a.nii")
    volume = formats.read_volume(tmp_path / "a.nii")
    formats.write_volume(tmp_path / "b.nii", volume, derivation=formats.Derivation(deidentify=True))
    assert b"Doe" not in (tmp_path / "b.nii").read_bytes()
    formats.write_volume(tmp_path / "c.nii", volume)
    assert nibabel.load(tmp_path / "c.nii").header.extensions[0].get_content() == b"Mrs Doe"


def test_trailing_axes_of_one(tmp_path):
    nifti(tmp_path / "a.nii", numbers("int16")[..., None, None], TURNED)
    assert formats.read_volume(tmp_path / "a.nii").values.shape == SHAPE


def header_of(path, **fields) -> bytes:
    """A small file's bytes with fields of its header overwritten."""
    header = nibabel.load(path).header.copy()
    for name, value in fields.items():
        header[name] = value
    return header.binaryblock + path.read_bytes()[348:]


def test_sentences_name_file_and_cause(tmp_path):
    good = nifti(tmp_path / "good.nii", numbers("int16"), TURNED)
    data = good.read_bytes()
    flat = TURNED.copy()
    flat[:3, 1] = 2 * flat[:3, 0]
    nan = numbers("float32")
    nan[0, 0, 0] = np.nan
    nifti(tmp_path / "4d.nii", np.ones((4, 4, 4, 2), np.int16), TURNED)
    nifti(tmp_path / "2d.nii", np.ones((4, 4), np.int16), TURNED)
    nifti(tmp_path / "zeros.nii.gz", np.zeros(SHAPE, np.int16), TURNED)
    nifti(tmp_path / "nan.nii", nan, TURNED)
    nifti(tmp_path / "complex.nii", np.ones(SHAPE, np.complex64), TURNED)
    nifti(tmp_path / "singular.nii", numbers("int16"), flat)
    (tmp_path / "endless.nii").write_bytes(header_of(good, scl_slope=1e38, scl_inter=3e38))
    (tmp_path / "cut.nii").write_bytes(data[:-50])
    (tmp_path / "cut.nii.gz").write_bytes(gzip.compress(data)[:-50])
    (tmp_path / "head.nii").write_bytes(data[:200])
    (tmp_path / "empty.nii.gz").write_bytes(b"")
    (tmp_path / "plain.nii.gz").write_bytes(data)
    (tmp_path / "packed.nii").write_bytes(gzip.compress(data))
    (tmp_path / "page.nii").write_text("<html>not here</html>")
    (tmp_path / "huge.nii").write_bytes(header_of(good, dim=[3, 30000, 30000, 30000, 1, 1, 1, 1]))
    (tmp_path / "wide.nii").write_bytes(header_of(good, dim=[3, 500, 500, 500, 1, 1, 1, 1]))
    (tmp_path / "minus.nii").write_bytes(header_of(good, dim=[3, 7, -6, 5, 1, 1, 1, 1]))
    (tmp_path / "far.nii").write_bytes(header_of(good, vox_offset=1e9))
    (tmp_path / "bomb.nii.gz").write_bytes(gzip.compress(header_of(good, dim=[3, 800, 800, 800, 1, 1, 1, 1])))
    (tmp_path / "notes.txt").write_text("x")
    expected = {
        "4d.nii": "4-D", "2d.nii": "2-D", "zeros.nii.gz": "nothing but zeros", "nan.nii": "1 values that are NaN",
        "complex.nii": "complex64", "singular.nii": "singular", "endless.nii": "NaN or infinite|damaged", "cut.nii": "cut short",
        "cut.nii.gz": "cut short", "head.nii": "cut short", "empty.nii.gz": "empty", "plain.nii.gz": "not a gzip file but NIfTI",
        "packed.nii": "but gzip", "page.nii": "HTML", "huge.nii": "claims 30000", "wide.nii": "cut short",
        "minus.nii": "no voxels", "far.nii": "damaged|cut short", "bomb.nii.gz": "cut short",
        "absent.nii": "absent", "notes.txt": "no volume",
    }  # fmt: skip
    for name, cause in expected.items():
        with pytest.raises(DataError, match=cause) as caught:
            formats.read_volume(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value) and "\n" not in str(caught.value), name
    with pytest.raises(DataError, match=r"good\.nii is a volume"):
        formats.read(good)
    with pytest.raises(DataError, match="only volumes"):
        (tmp_path / "only").mkdir()
        (tmp_path / "only" / "a.nii").write_bytes(data)
        formats.list_images(tmp_path / "only")


def test_listing(tmp_path):
    for name in ("b.nii.gz", "sub/a.nii", ".hidden.nii", "c.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        nifti(tmp_path / "x.nii", numbers("int16"), TURNED).rename(tmp_path / name)
    assert [p.name for p in formats.list_volumes(tmp_path)] == ["b.nii.gz"]
    assert [p.name for p in formats.list_volumes(tmp_path, recursive=True)] == ["b.nii.gz", "a.nii"]
    assert formats.name_stem(tmp_path / "b.nii.gz") == "b" and not formats.is_volume(tmp_path / "c.txt")
    (tmp_path / "none").mkdir()
    for folder, cause in ((tmp_path / "none", "no volume"), (tmp_path / "lost", "absent"), (tmp_path / "c.txt", "not a folder")):
        with pytest.raises(DataError, match=cause):
            formats.list_volumes(folder)


def test_real_volumes_survive(tmp_path, real_data):
    for path in (
        real_data / "mri_t1_t2/T1/JLF001-DCAN-0001-T1.nii.gz",
        real_data / "mri_t1_t2_native/FG6692-TCGA-0000-T2.nii.gz",
    ):
        volume, before = formats.read_volume(path), nibabel.load(path)
        np.testing.assert_array_equal(volume.values, before.get_fdata(dtype=np.float32))
        formats.write_volume(tmp_path / "b.nii.gz", volume)
        after = nibabel.load(tmp_path / "b.nii.gz")
        np.testing.assert_array_equal(np.asarray(after.dataobj), np.asarray(before.dataobj))
        np.testing.assert_array_equal(after.affine, before.affine)
        assert after.get_data_dtype() == before.get_data_dtype() and after.header["qform_code"] == before.header["qform_code"]
