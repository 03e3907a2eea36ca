"""DICOM headers for images that come from no file: phantoms and synthesized images.

The patient is called PHANTOM and the equipment says what made the image; nothing in it looks like a person's record.
"""

from __future__ import annotations

import numpy as np
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset

from medjax.formats.deidentify import hashed_uid
from medjax.formats.derive import decimals
from medjax.formats.pixels import Layout

_CLASSES = {"CT": uid.CTImageStorage, "MR": uid.MRImageStorage}


def layout(shape: tuple[int, int], dtype: np.dtype) -> Layout:
    """Grey pixels [H, W] that fill an integer type of 8 or 16 bits."""
    dtype, (rows, columns) = np.dtype(dtype), shape
    bits = dtype.itemsize * 8
    return Layout(rows, columns, 1, 1, "MONOCHROME2", bits, bits, bits - 1, dtype.kind == "i")


def header(key: str, *, modality: str = "OT", number: int = 1) -> Dataset:
    """Patient, study, series and equipment; one study and series per key. CT and MR are of their own storage classes."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.ImageType = ["DERIVED", "SECONDARY"]
    dataset.SOPClassUID = _CLASSES.get(modality, uid.SecondaryCaptureImageStorage)
    dataset.SOPInstanceUID = hashed_uid(key, "instance", modality, str(number))
    dataset.Modality = modality
    dataset.Manufacturer = "medjax"
    dataset.PatientName = dataset.PatientID = "PHANTOM"
    dataset.PatientBirthDate = dataset.PatientSex = dataset.StudyDate = dataset.StudyTime = ""
    dataset.AccessionNumber = dataset.ReferringPhysicianName = dataset.StudyID = ""
    dataset.StudyInstanceUID = hashed_uid(key, "study")
    dataset.SeriesInstanceUID = hashed_uid(key, "series", modality)
    dataset.SeriesNumber, dataset.InstanceNumber = 1, number
    if modality not in _CLASSES:
        dataset.ConversionType = "WSD"
    return dataset


def place(dataset: Dataset, affine: np.ndarray, *, key: str, slices: int) -> None:
    """Writes the geometry of slice 0 of `affine` (columns, rows, slices -> RAS+ mm) and its storage class's own needs."""
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    lengths = np.linalg.norm(lps[:3, :3], axis=0)
    directions = lps[:3, :3] / lengths
    dataset.FrameOfReferenceUID = hashed_uid(key, "frame of reference")
    dataset.PositionReferenceIndicator = ""
    dataset.ImagePositionPatient = decimals(lps[:3, 3])
    dataset.ImageOrientationPatient = decimals(np.concatenate([directions[:, 0], directions[:, 1]]))
    dataset.PixelSpacing = decimals([lengths[1], lengths[0]])
    dataset.SliceThickness = decimals([lengths[2]])[0]
    if slices > 1:
        dataset.SpacingBetweenSlices = decimals([lengths[2]])[0]
