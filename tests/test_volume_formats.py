"""Volumes: axes turn without loss, DICOM slices are ordered by place and judged, what is written lies on the same grid."""

from __future__ import annotations

import shutil

import nibabel
import numpy as np
import pydicom
import pytest
from medical_files import ROOT, SECRETS, dicom, enhanced, save, series
from pydicom import uid

from medjax import formats
from medjax.types import DataError

RNG = np.random.default_rng(5)
CUBE = RNG.integers(0, 4000, (6, 5, 4))  # K, H, W


def test_slices_are_ordered_by_place_not_by_name_or_number(tmp_path):
    folder = series(tmp_path / "ct", CUBE, RescaleSlope="1", RescaleIntercept="-1024", WindowCenter=40, WindowWidth=400)
    assert formats.is_volume(folder) and formats.list_volumes(tmp_path) == [folder]
    volume = formats.read_volume(folder)
    np.testing.assert_array_equal(volume.values, CUBE.transpose(2, 1, 0) - 1024)
    # DICOM's left, posterior are this house's minus right, minus anterior; columns are 0.75 mm apart, rows 0.5.
    np.testing.assert_allclose(volume.affine, [[-0.75, 0, 0, 20], [0, -0.5, 0, 30], [0, 0, 2.5, 40], [0, 0, 0, 1]])
    assert volume.axcodes == "LPS" and volume.stored.window == (40, 400) and volume.stored.format == "dicom"


@pytest.mark.parametrize("axes", [[0, 1, 0, 0, 0, -1], [-0.6, 0.8, 0, 0, 0, 1]])
def test_other_planes_and_tilted_stacks(tmp_path, axes):
    normal = np.cross(axes[:3], axes[3:])
    step = 3.0 * normal + 0.5 * np.array(axes[3:])  # a gantry tilt: slices rise and shift
    folder = series(tmp_path / "mr", CUBE, step=tuple(step), ImageOrientationPatient=axes)
    volume = formats.read_volume(folder)
    lps = np.diag([-1, -1, 1, 1]) @ volume.affine
    k, row, column = 4, 3, 2
    place = np.array([-20, -30, 40]) + k * step + 0.75 * column * np.array(axes[:3]) + 0.5 * row * np.array(axes[3:])
    np.testing.assert_allclose(lps @ [column, row, k, 1], [*place, 1], atol=1e-6)
    assert volume.values[column, row, k] == CUBE[k, row, column]


def test_what_is_wrong_with_a_series_is_named(tmp_path):
    good = series(tmp_path / "good", CUBE)

    def broken(name: str, change) -> str:
        shutil.copytree(good, tmp_path / name)
        change(tmp_path / name)
        with pytest.raises(DataError) as caught:
            formats.read_volume(tmp_path / name)
        told = str(caught.value)
        assert str(tmp_path / name) in told and "\n" not in told and not any(s in told for s in SECRETS.values())
        return told

    def edit(name: str, **changes):
        def change(folder) -> None:
            data = pydicom.dcmread(folder / name)
            for keyword, value in changes.items():
                setattr(data, keyword, value)
            data.save_as(folder / name)

        return change

    told = broken("missing", lambda f: (f / "IM003.dcm").unlink())
    assert "lacks slices" in told and "1 between IM004.dcm and IM002.dcm" in told and "2.5 mm" in told
    told = broken("doubled", lambda f: shutil.copy(f / "IM003.dcm", f / "copy.dcm"))
    assert "more than one slice" in told and "IM003.dcm" in told and "copy.dcm" in told
    told = broken("uneven", edit("IM003.dcm", ImagePositionPatient=[-20, -30, 48.3]))
    assert "unevenly" in told and "IM003.dcm" in told
    assert "line" in broken("aside", edit("IM003.dcm", ImagePositionPatient=[-12, -30, 47.5]))
    assert "differ in size" in broken("size", edit("IM003.dcm", Rows=4))
    assert "spacing" in broken("scale", edit("IM003.dcm", PixelSpacing=[0.5, 0.5]))
    assert "perpendicular" in broken("skew", edit("IM003.dcm", ImageOrientationPatient=[1, 0, 0, 1, 0, 0]))
    assert "cut short" in broken("short", lambda f: (f / "IM002.dcm").write_bytes((f / "IM002.dcm").read_bytes()[:-9]))
    assert "zeros" in broken("zeros", lambda f: series(f, np.zeros_like(CUBE)))
    told = broken("none", lambda f: [p.unlink() for p in f.iterdir()])
    assert "no DICOM slices" in told
    with pytest.raises(DataError, match="no volume"):
        formats.list_volumes(tmp_path / "none")


def test_mixed_folders(tmp_path):
    folder = series(tmp_path / "mixed", CUBE)
    series(tmp_path / "b", CUBE[:3] // 2, series=f"{ROOT}.8", SeriesNumber=9)
    for path in (tmp_path / "b").iterdir():
        path.rename(folder / f"b{path.name}")
    with pytest.raises(DataError, match=r"series 5 with 6 slices \(\w+\); series 9 with 3 slices \(\w+\)") as caught:
        formats.read_volume(folder)
    tag = str(caught.value).rsplit("(", 1)[1][:8]
    np.testing.assert_array_equal(formats.read_volume(folder, series_tag=tag).values, (CUBE[:3] // 2).transpose(2, 1, 0))
    found = formats.read_series(folder)
    assert {k: v.values.shape for k, v in found.items()} == {f"{ROOT}.3": (4, 5, 6), f"{ROOT}.8": (4, 5, 3)}
    with pytest.raises(DataError, match="no series 12345678"):
        formats.read_volume(folder, series_tag="12345678")


def test_localizers_reports_and_films_are_left_out_with_a_word(tmp_path):
    folder = series(tmp_path / "a", CUBE)
    for n, axes in enumerate(([1, 0, 0, 0, 0, -1], [0, 1, 0, 0, 0, -1])):
        scout = dicom(CUBE[0], number=n + 1, series=f"{ROOT}.6", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
        scout.ImageOrientationPatient, scout.ImagePositionPatient, scout.PixelSpacing = axes, [0, 0, 0], [1, 1]
        save(scout, folder / f"scout{n}.dcm")
    save(dicom(CUBE[0], series=f"{ROOT}.7"), folder / "film.dcm")
    report = dicom(CUBE[0], series=f"{ROOT}.9")
    del report.PixelData, report.Rows
    save(report, folder / "report.dcm")
    with pytest.warns(UserWarning) as told:
        volume = formats.read_volume(folder)
    assert volume.values.shape == (4, 5, 6)
    words = " ".join(str(w.message) for w in told)
    for part in (
        "localizers left out (scout0.dcm, scout1.dcm)",
        "place in the patient left out (film.dcm)",
        "data left out (report.dcm)",
    ):
        assert part in words, words
    for path in folder.glob("IM*"):
        path.unlink()
    with pytest.warns(UserWarning), pytest.raises(DataError, match="more than one volume"):
        formats.read_volume(folder)
    with pytest.warns(UserWarning):
        assert set(formats.read_series(folder)) == {f"{ROOT}.6", f"{ROOT}.6#2"}


def test_a_derived_series(tmp_path):
    volume = formats.read_volume(series(tmp_path / "in", CUBE, RescaleSlope="2", RescaleIntercept="-1024"))
    new = formats.with_values(volume, volume.values + 10.4)
    run = formats.Derivation(description="synthetic T2", series="T2")
    formats.write_volume(tmp_path / "out", formats.to_ras(new), derivation=run)
    again = formats.read_volume(tmp_path / "out")
    np.testing.assert_array_equal(again.affine, volume.affine)
    np.testing.assert_array_equal(again.values, volume.values + 10)  # nearest multiple of the slope
    before, after = ([pydicom.dcmread(p) for p in sorted((tmp_path / name).iterdir())] for name in ("in", "out"))
    assert [p.name for p in sorted((tmp_path / "out").iterdir())] == [f"IM00{n}.dcm" for n in range(1, 7)]
    assert len({d.SeriesInstanceUID for d in after}) == 1 and after[0].SeriesInstanceUID != before[0].SeriesInstanceUID
    assert len({d.SOPInstanceUID for d in (*before, *after)}) == 12
    for old, made in zip(before, after, strict=True):
        assert made.ImagePositionPatient == old.ImagePositionPatient and made.PatientID == old.PatientID
        assert made.SourceImageSequence[0].ReferencedSOPInstanceUID == old.SOPInstanceUID
        assert (made.StudyInstanceUID, made.RescaleSlope, made.InstanceNumber) == (old.StudyInstanceUID, 2, old.InstanceNumber)
    formats.write_volume(tmp_path / "out", new)  # a folder of DICOM is replaced
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match="other files"):
        formats.write_volume(tmp_path / "out", new)
    with pytest.raises(DataError, match="read from there"):
        formats.write_volume(tmp_path / "in", new)
    with pytest.raises(DataError, match="NaN"):
        formats.write_volume(tmp_path / "nan", formats.with_values(volume, volume.values * np.nan))
    assert not (tmp_path / "nan").exists() and not list(tmp_path.glob(".*"))


def test_a_deidentified_series_hangs_together(tmp_path):
    volume = formats.read_volume(series(tmp_path / "in", CUBE))
    formats.write_volume(tmp_path / "out", volume, derivation=formats.Derivation(deidentify=True))
    np.testing.assert_array_equal(formats.read_volume(tmp_path / "out").values, volume.values)
    data = b"".join(p.read_bytes() for p in (tmp_path / "out").iterdir())
    assert not [s for s in (*SECRETS.values(), ROOT) if s.encode() in data]
    assert sorted(p.name for p in (tmp_path / "out").iterdir())[0] == "0001.dcm"


def test_dicom_becomes_nifti_but_not_the_reverse(tmp_path):
    volume = formats.read_volume(series(tmp_path / "in", CUBE, RescaleSlope="1", RescaleIntercept="-1024"))
    formats.write_volume(tmp_path / "a.nii.gz", volume)
    image = nibabel.load(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(image.get_fdata(), volume.values)
    np.testing.assert_allclose(image.affine, volume.affine, atol=1e-5)
    with pytest.raises(DataError, match="no DICOM header"):
        formats.write_volume(tmp_path / "b", formats.read_volume(tmp_path / "a.nii.gz"))


def test_frames_of_one_file(tmp_path):
    order, slopes = [2, 0, 3, 1], [1.0, 2.0, 0.5, 3.0]
    given = enhanced(CUBE[:4], order, slopes=slopes)
    path = save(given, tmp_path / "a.dcm")
    assert formats.is_volume(path) and formats.list_volumes(tmp_path) == [path]
    volume = formats.read_volume(path)
    for n, at in enumerate(order):
        np.testing.assert_allclose(volume.values[..., at], CUBE[n].T * slopes[n] - 7, rtol=1e-6)
    np.testing.assert_allclose(volume.spacing, (1.25, 1.5, 3.0))
    with pytest.raises(DataError, match="4 frames"):
        formats.read(path)
    formats.write_volume(tmp_path / "b.dcm", volume)
    back = pydicom.dcmread(tmp_path / "b.dcm")
    np.testing.assert_array_equal(back.pixel_array, CUBE[:4])  # each frame with its own rescale, in its old place
    assert list(back.ImageType)[:2] == ["DERIVED", "SECONDARY"] and back.NumberOfFrames == 4
    kind = back.SharedFunctionalGroupsSequence[0].MRImageFrameTypeSequence[0].FrameType
    assert list(kind) == ["DERIVED", "SECONDARY", "T1", "NONE"]
    save(enhanced(CUBE[:4], [0, 1, 1, 2]), tmp_path / "c.dcm")
    with pytest.raises(DataError, match="frame 2 and frame 3"):
        formats.read_volume(tmp_path / "c.dcm")
    save(dicom(CUBE[0]), tmp_path / "d.dcm")
    with pytest.raises(DataError, match="in the patient"):
        formats.read_volume(tmp_path / "d.dcm")
    placed = dict(ImagePositionPatient=[0, 0, 0], ImageOrientationPatient=[1, 0, 0, 0, 1, 0], PixelSpacing=[1, 1])
    save(dicom(CUBE[0], **placed), tmp_path / "e.dcm")
    with pytest.raises(DataError, match="single image"):
        formats.read_volume(tmp_path / "e.dcm")


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_a_phantom_becomes_a_dicom_series(tmp_path, modality):
    hu = RNG.integers(-1024, 3000, (5, 6, 4)).astype(np.float32)
    made = formats.plain(hu, np.diag([-0.123456789, -0.7, 3.3333333, 1]), dtype="int16", modality=modality)
    formats.write_volume(tmp_path / "a", made)
    data = pydicom.dcmread(sorted((tmp_path / "a").iterdir())[0])
    assert data.Modality == modality and data.PatientID == "PHANTOM"
    assert data.SOPClassUID == {"CT": uid.CTImageStorage, "MR": uid.MRImageStorage}[modality]
    again = formats.read_volume(tmp_path / "a")
    np.testing.assert_array_equal(again.values, hu)
    np.testing.assert_allclose(again.affine, made.affine, atol=1e-7)
    with pytest.raises(DataError, match="perpendicular"):
        formats.write_volume(tmp_path / "b", formats.plain(hu, np.eye(4) + np.eye(4, k=2), dtype="int16"))


def shrunk(image: np.ndarray) -> np.ndarray:
    """Mean of 2 x 2 pixels."""
    return image.reshape(image.shape[0] // 2, 2, image.shape[1] // 2, 2).mean((1, 3))


def test_the_series_shows_the_anatomy_of_the_nifti_of_the_same_scan(real_data):
    ct = formats.read_volume(real_data / "ct" / "series_Lung_Dx-A0001_s2")
    soft = formats.read_volume(real_data / "ct" / "nifti" / "Lung_Dx-A0001_s3_256.nii.gz")
    assert ct.values.shape == (512, 512, 32) and ct.axcodes == soft.axcodes == "LPS" and ct.values.min() == -1024
    first = np.linalg.inv(soft.affine) @ ct.affine @ [0.5, 0.5, 0, 1]  # the centre of the first 2 x 2 pixels
    np.testing.assert_allclose(first, [0, 0, 16, 1], atol=0.01)
    body = lambda x: np.clip(x, -1000, 400)  # the table and the bone's edges differ by kernel
    for k in (0, 15, 31):
        image = body(shrunk(ct.values[..., k]))
        alike = {d: np.corrcoef(image.ravel(), body(soft.values[..., 16 + k + d]).ravel())[0, 1] for d in (-1, 0, 1)}
        assert alike[0] > 0.97 and alike[0] > max(alike[-1], alike[1]) + 0.01, alike


def test_real_series_and_frames(tmp_path, real_data):
    mr = formats.read_volume(real_data / "dicom" / "mr_series_VS-SEG-001")
    assert mr.values.shape == (512, 512, 8)
    np.testing.assert_allclose(mr.spacing, (0.41015625, 0.41015625, 1.5), rtol=1e-6)
    formats.write_volume(tmp_path / "mr", mr)
    again = formats.read_volume(tmp_path / "mr")
    np.testing.assert_array_equal(again.values, mr.values)
    np.testing.assert_array_equal(again.affine, mr.affine)
    ect = formats.read_volume(real_data / "dicom" / "eCT_Supplemental.dcm")
    assert (
        ect.values.shape == (512, 512, 2) and ect.spacing == pytest.approx((0.388672, 0.388672, 10)) and ect.values.min() == -1024
    )
    with pytest.raises(DataError, match="position in the patient"):
        formats.read_volume(real_data / "dicom" / "emri_small.dcm")  # its functional groups were removed
    with pytest.raises(DataError, match="4 volumes|more than one volume"):
        formats.read_volume(real_data / "ct" / "slices_NYSBU" / "A056642")
