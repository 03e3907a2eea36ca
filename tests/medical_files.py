"""Small DICOM and NIfTI files for the tests, built with pydicom and nibabel alone."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pydicom
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset

ROOT = "1.2.826.0.1.3680043.10.999"
NAME = "Doe^Unmistakable"
SECRETS = {
    "PatientName": NAME, "PatientID": "MRN-4711-77", "PatientBirthDate": "19481231", "PatientAddress": "Hidden Lane 5",
    "InstitutionName": "Saint Somewhere", "ReferringPhysicianName": "House^Gregory", "OperatorsName": "Operator^Jane",
    "AccessionNumber": "ACC-90210", "StudyDate": "20190704", "StudyTime": "111213", "SeriesDescription": "Doe head scan",
    "StudyDescription": "Doe follow-up", "StationName": "ROOM-7B", "DeviceSerialNumber": "SN-556677", "PatientAge": "071Y",
    "OtherPatientIDs": "OLD-4710", "ImageComments": "spoke to Mrs Doe", "ProtocolName": "Dr House special",
}  # fmt: skip


def dicom(
    stored: np.ndarray,
    *,
    bits: int = 12,
    signed: bool = False,
    photometric: str = "MONOCHROME2",
    number: int = 1,
    series: str = f"{ROOT}.3",
    **elements: object,
) -> Dataset:
    """A data set with `stored` [H, W], [H, W, 3] or [N, H, W] uncompressed, a patient, and any further elements."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = uid.CTImageStorage
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = f"{series}.{number}"
    data.StudyInstanceUID, data.SeriesInstanceUID, data.FrameOfReferenceUID = f"{ROOT}.2", series, f"{ROOT}.4"
    data.Modality, data.SeriesNumber, data.InstanceNumber = "CT", 5, number
    data.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    for keyword, value in SECRETS.items():
        setattr(data, keyword, value)
    colour = photometric in ("RGB", "YBR_FULL")
    shape = stored.shape[:2] if colour or stored.ndim == 2 else stored.shape[1:]
    data.Rows, data.Columns = shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 3 if colour else 1, photometric
    if colour:
        data.PlanarConfiguration = 0
    if stored.ndim == 3 and not colour:
        data.NumberOfFrames = len(stored)
    data.BitsAllocated, data.BitsStored, data.HighBit = 8 if bits <= 8 else 16, bits, bits - 1
    data.PixelRepresentation = int(signed)
    pixels = stored.astype(f"<{'i' if signed else 'u'}{data.BitsAllocated // 8}").tobytes()
    data.PixelData = pixels + b"\0" * (len(pixels) % 2)
    data["PixelData"].VR = "OB" if bits <= 8 else "OW"
    for keyword, value in elements.items():
        setattr(data, keyword, value)
    return data


def lut(entries: np.ndarray, first: int, bits: int) -> Dataset:
    """The item of a look-up table sequence."""
    item = Dataset()
    item.LUTDescriptor = [len(entries), first, bits]
    item.add_new("LUTData", "US", [int(x) for x in entries])
    return item


def compressed(data: Dataset, syntax: str, **options: object) -> Dataset:
    """The data set in another transfer syntax, by the encoder that is named here: GDCM's may take the process with it."""
    plugins = {uid.RLELossless: "pydicom", uid.JPEGLSLossless: "pyjpegls", uid.JPEGLSNearLossless: "pyjpegls"}
    data.compress(syntax, encoding_plugin=plugins.get(syntax, "pylibjpeg"), **options)
    return data


def save(data: Dataset, path: Path) -> Path:
    """Writes it, uncompressed or in the transfer syntax that `compress` gave it."""
    pydicom.dcmwrite(path, data, enforce_file_format=True)
    return path


def series(folder: Path, stored: np.ndarray, *, step: tuple[float, float, float] = (0, 0, 2.5), **options: object) -> Path:
    """A folder of files from `stored` [K, H, W], positions rising by `step` mm, file names and numbers against the order."""
    folder.mkdir(parents=True, exist_ok=True)
    given = dict(ImageOrientationPatient=[1, 0, 0, 0, 1, 0], PixelSpacing=[0.5, 0.75], SliceThickness=2.5) | options
    for k, image in enumerate(stored):
        number = len(stored) - k
        position = [float(a + k * b) for a, b in zip((-20, -30, 40), step, strict=True)]
        save(dicom(image, number=number, **({"ImagePositionPatient": position} | given)), folder / f"IM{number:03d}.dcm")
    return folder


def enhanced(stored: np.ndarray, order: list[int], *, slopes: list[float] | None = None) -> Dataset:
    """A multi-frame data set whose frame n lies at place order[n], 3 mm apart, with a rescale of its own."""
    data = dicom(stored, bits=16)
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = uid.EnhancedMRImageStorage
    shared, measures, plane = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [1.5, 1.25], 3.0
    plane.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [plane]
    kind = Dataset()
    kind.FrameType = ["ORIGINAL", "PRIMARY", "T1", "NONE"]
    shared.MRImageFrameTypeSequence = [kind]
    data.SharedFunctionalGroupsSequence, frames = [shared], []
    for n, at in enumerate(order):
        frame, place, values = Dataset(), Dataset(), Dataset()
        place.ImagePositionPatient = [1.0, 2.0, 3.0 * at]
        values.RescaleSlope, values.RescaleIntercept, values.RescaleType = slopes[n] if slopes else 1.0, -7.0, "US"
        frame.PlanePositionSequence, frame.PixelValueTransformationSequence = [place], [values]
        frames.append(frame)
    data.PerFrameFunctionalGroupsSequence = frames
    return data


def nifti(
    path: Path, stored: np.ndarray, affine: np.ndarray, *, slope: float = 1.0, inter: float = 0.0, kind=nibabel.Nifti1Image
) -> Path:
    """A NIfTI file with the stored values as they are."""
    image = kind(stored, affine)
    image.header.set_data_dtype(stored.dtype)
    image.header["scl_slope"], image.header["scl_inter"] = slope, inter
    image.header.set_xyzt_units("mm", "sec")
    nibabel.save(image, path)
    return path
