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
from medjax.formats.volume import Derivation, from_ras, plain, read_volume, to_ras, write_volume
from medjax.types import ConfigError

pytestmark = pytest.mark.usefixtures("quick_compile")


@pytest.fixture(scope="module")
def head():
    phantom = brain_pair(3, 0, shape=(60, 72, 44), spacing=2.6, stripped=True)
    return plain(np.round(phantom.t1w / phantom.t1w.max() * 1000), phantom.affine, dtype="int16", modality="MR")


@pytest.fixture
def run(trained_mri, tmp_path, capsys):
    def go(*words, status=0):
        ended = main(["enhance", f"--workdir={trained_mri}", f"--output={tmp_path / 'out'}", *map(str, words)])
        told = capsys.readouterr()
        assert ended == status, told.err
        return told

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
    image = tmp_path / "single.dcm"
    write_volume(tmp_path / "series", head)
    image.write_bytes(next((tmp_path / "series").iterdir()).read_bytes())
    assert "no volume" in run(image, status=1).err


def test_two_inputs_of_one_name_and_outputs_among_the_inputs(trained_mri, head, tmp_path):
    config, out = load(trained_mri).config, tmp_path / "in" / "out"
    for folder in (tmp_path / "in", tmp_path / "in" / "deeper", out):
        folder.mkdir()
        write_volume(folder / "brain-T1.nii.gz", head)
    write_volume(tmp_path / "in" / "brain-T2.nii.gz", head)
    (tmp_path / "in" / "photo.tif").write_bytes(b"II*")
    with (
        pytest.warns(UserWarning, match="1 pictures of .* are left out.*photo.tif"),
        pytest.warns(UserWarning, match="1 volumes of .* are T2 already"),
    ):
        found = volumes.plan([tmp_path / "in", tmp_path / "in" / "deeper" / "brain-T1.nii.gz"], out, config=config)
    names = [target.relative_to(out).as_posix() for _, target in found]
    assert names == ["brain-T1_synthetic-T2.nii.gz", "deeper/brain-T1_synthetic-T2.nii.gz"], "each once, outputs left out"
    others = [tmp_path / "in" / "brain-T1.nii.gz", tmp_path / "in" / "deeper" / "brain-T1.nii.gz"]
    assert [t.name for _, t in volumes.plan(others, tmp_path / "x", config=config)] == [
        "brain-T1_synthetic-T2.nii.gz", "brain-T1_synthetic-T2_2.nii.gz"
    ]  # fmt: skip


def test_every_series_of_a_folder_is_taken(run, head, tmp_path):
    for number, name in enumerate(("a", "b")):
        volume = plain(head.values * (1 + number), head.affine, dtype="int16", modality="MR")
        write_volume(tmp_path / name, volume, derivation=Derivation(key=name))
    (tmp_path / "both").mkdir()
    for name in ("a", "b"):
        for path in (tmp_path / name).iterdir():
            (tmp_path / "both" / f"{name}{path.name}").write_bytes(path.read_bytes())
    run(tmp_path / "both")
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"both_synthetic-T2_series-1", "both_synthetic-T2_series-2"}


def test_a_synthetic_image_claims_no_acquisition(run, head, tmp_path):
    write_volume(tmp_path / "series", head)
    for path in (tmp_path / "series").iterdir():
        data = pydicom.dcmread(path)
        data.ScanningSequence, data.EchoTime, data.ProtocolName = ["GR", "IR"], 2.97, "t1_mpr"
        data.save_as(path)
    run(tmp_path / "series")
    data = pydicom.dcmread(next((tmp_path / "out" / "series_synthetic-T2").iterdir()))
    assert data.ScanningSequence == "RM" and "EchoTime" not in data and "ProtocolName" not in data
    assert "Synthetic T2 computed from T1" in data.DerivationDescription


def test_ct_through_an_mr_run_is_refused(run, head, tmp_path):
    write_volume(tmp_path / "ct-T1.nii.gz", plain(head.values - 1000, head.affine, dtype="int16"))
    assert "is CT" in run(tmp_path / "ct-T1.nii.gz", status=1).err


def test_a_head_that_the_canvas_cuts_is_told(trained_mri, head):
    model = load(trained_mri)
    config = model.config.copy_and_resolve_references()
    config.data.phantom_mri.update(fov_mm=80.0, range_mm=(-5.0, 5.0))
    narrow = type(model)(config, model.objective, model.state, model.step)
    with pytest.warns(UserWarning) as told:
        volumes.enhance_volume(narrow, head)
    words = " ".join(str(w.message) for w in told)
    assert "the head is" in words and "of the slices lie beyond the -5 to 5 mm" in words


def test_an_enhancement_keeps_what_lies_beyond_its_window(trained_mri, head):
    """A run on slices of a CT changes values inside its window alone; the padding of -3024 HU survives."""
    model = load(trained_mri)
    config = model.config.copy_and_resolve_references()
    config.data.source = "volumes"
    config.data.volumes.update(window=(-1000.0, 400.0), fov_mm=120.0)
    values = np.full((40, 40, 6), -3024.0, np.float32)
    values[8:32, 8:32] = np.linspace(-900, 300, 24)[:, None, None]
    values[12:16, 12:16] = 1800
    scan = plain(values, np.diag([3.0, 3.0, 5.0, 1.0]))
    still = type(model)(config, model.objective, model.state, model.step)
    object.__setattr__(still, "predict", lambda: lambda batch, key: {"target": batch["source"] - 0.1})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        out = volumes.enhance_volume(still, scan)
    tissue = np.abs(values) < 900
    np.testing.assert_allclose((out.values - values)[tissue], -70, atol=15)
    assert (out.values[values == 1800] == 1800).all() and (out.values[values == -3024] == -3024).all()
    assert out.stored.dtype == "float32" and from_ras(to_ras(out).values, out).shape == values.shape
