"""Volumes through a trained run and back to files: same grid, same type, same patient, whatever the orientation."""

from __future__ import annotations

import warnings

import nibabel
import numpy as np
import pydicom
import pytest

from medjax.build import volumes
from medjax.build.evaluation import load
from medjax.cli import main
from medjax.data.phantom.mri import brain_pair
from medjax.formats.volume import from_ras, plain, read_volume, to_ras, write_volume
from medjax.types import ConfigError, DataError

pytestmark = pytest.mark.usefixtures("quick_compile")


@pytest.fixture(scope="module")
def head():
    phantom = brain_pair(3, 0, shape=(60, 72, 44), spacing=2.6, stripped=True)
    return plain(np.round(phantom.t1w / phantom.t1w.max() * 1000), phantom.affine, dtype="int16", modality="MR")


@pytest.fixture
def run(trained_mri, tmp_path, capsys):
    def go(*words, status=0):
        assert main(["enhance", f"--workdir={trained_mri}", f"--output={tmp_path / 'out'}", *map(str, words)]) == status
        return capsys.readouterr()

    return go


def written(path, volume, codes):
    """`volume` stored in another voxel order."""
    image = nibabel.Nifti1Image(volume.values.astype(np.int16), volume.affine)
    turn = nibabel.orientations.ornt_transform(nibabel.io_orientation(volume.affine), nibabel.orientations.axcodes2ornt(codes))
    nibabel.save(image.as_reoriented(turn), path)
    return path


@pytest.mark.parametrize("codes", ["LPS", "PIR"])
def test_a_nifti_comes_back_on_its_grid_whatever_its_orientation(run, head, tmp_path, codes):
    path = written(tmp_path / "brain-T1.nii.gz", head, codes)
    run(path)
    before, after = nibabel.load(path), nibabel.load(tmp_path / "out" / "brain-T1_synthetic-T2.nii.gz")
    assert after.shape == before.shape and after.get_data_dtype() == before.get_data_dtype()
    np.testing.assert_array_equal(after.affine, before.affine)
    straight = nibabel.as_closest_canonical(after).get_fdata()
    write_volume(tmp_path / "ras-T1.nii.gz", to_ras(head))
    run(tmp_path / "ras-T1.nii.gz")
    other = nibabel.load(tmp_path / "out" / "ras-T1_synthetic-T2.nii.gz").get_fdata()
    np.testing.assert_allclose(straight, other, atol=1)
    mask = nibabel.as_closest_canonical(before).get_fdata() > 0
    assert straight[~mask].mean() < 0.05 * straight[mask].mean(), "outside a skull-stripped head there is no tissue"


def test_a_dicom_series_comes_back_as_a_series_of_the_same_patient(run, head, tmp_path):
    write_volume(tmp_path / "series", head)
    run(tmp_path / "series")
    before, after = (
        [pydicom.dcmread(p) for p in sorted(f.iterdir())] for f in (tmp_path / "series", tmp_path / "out" / "series_synthetic-T2")
    )
    assert len(before) == len(after) == head.values.shape[2]
    assert {d.PatientID for d in after} == {d.PatientID for d in before}
    assert {d.StudyInstanceUID for d in after} == {d.StudyInstanceUID for d in before}
    assert len({d.SeriesInstanceUID for d in after}) == 1 and not {d.SeriesInstanceUID for d in after} & {
        d.SeriesInstanceUID for d in before
    }
    assert "synthetic-T2" in after[0].SeriesDescription and after[0].ImageType[:2] == ["DERIVED", "SECONDARY"]
    volume = read_volume(tmp_path / "out" / "series_synthetic-T2")
    np.testing.assert_allclose(volume.affine, read_volume(tmp_path / "series").affine, atol=1e-3)


def test_patient_tags_go_when_asked(run, head, tmp_path):
    write_volume(tmp_path / "series", head)
    run(tmp_path / "series", "--deidentify")
    data = pydicom.dcmread(next((tmp_path / "out" / "series_synthetic-T2").iterdir()))
    original = pydicom.dcmread(next((tmp_path / "series").iterdir()))
    assert data.PatientIdentityRemoved == "YES" and str(data.get("PatientID", "")) != str(original.PatientID)
    assert data.StudyInstanceUID != original.StudyInstanceUID


def test_one_bad_volume_does_not_stop_the_others(run, head, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    write_volume(folder / "a-T1.nii.gz", head)
    (folder / "b-T1.nii.gz").write_bytes((folder / "a-T1.nii.gz").read_bytes()[:2000])
    out = run(folder, status=1)
    assert "1 volumes written" in out.out and "b-T1.nii.gz" in out.err and "Traceback" not in out.err
    out = run(folder, status=1)
    assert out.err.count("exists already") == 1


def test_what_does_not_fit_a_run_of_volumes_is_told(run, trained, head, tmp_path):
    write_volume(tmp_path / "brain-T1.nii.gz", head)
    assert "--scale" in run(tmp_path / "brain-T1.nii.gz", "--scale=native", status=2).err
    assert "no such file" in run(tmp_path / "nothing.nii.gz", status=1).err
    with pytest.raises(ConfigError, match="takes images, not volumes"):
        volumes.options_of(load(trained).config)
    with pytest.raises(DataError, match="written twice"):
        other = tmp_path / "deeper"
        other.mkdir()
        write_volume(other / "brain-T1.nii.gz", head)
        volumes.plan([tmp_path / "brain-T1.nii.gz", other], tmp_path / "out", suffix="")


def test_an_enhancement_keeps_what_lies_beyond_its_window(trained_mri, head):
    """A run on slices of a CT changes values inside its window alone; the padding of -3024 HU survives."""
    model = load(trained_mri)
    config = model.config.copy_and_resolve_references()
    config.data.source = "volumes"
    config.data.volumes.update(window=(-1000.0, 400.0), fov_mm=0.0)
    values = np.full((40, 40, 6), -3024.0, np.float32)
    values[8:32, 8:32] = np.linspace(-900, 300, 24)[:, None, None]
    values[12:16, 12:16] = 1800
    scan = plain(values, np.diag([3.0, 3.0, 5.0, 1.0]))
    still = type(model)(config, model.objective, model.state, model.step, {"fov_mm": "120"})
    object.__setattr__(still, "predict", lambda: lambda batch, key: {"target": batch["source"] - 0.1})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        out = volumes.enhance_volume(still, scan)
    tissue = np.abs(values) < 900
    np.testing.assert_allclose((out.values - values)[tissue], -70, atol=15)
    assert (out.values[values == 1800] == 1800).all() and (out.values[values == -3024] == -3024).all()
    assert out.stored.dtype == "float32" and from_ras(to_ras(out).values, out).shape == values.shape
