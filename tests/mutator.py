"""Damaged files, the same for the same seed: what a fuzzing run reads. As a script, the child that reads them.

    python mutator.py SEEDS_FOLDER SCRATCH_FOLDER < case numbers, one a line

answers a line for each: the case, then `read`, `refused` or `FAILED` with what came instead of the project's own error.
"""

from __future__ import annotations

import gzip
import io
import struct
import sys
import traceback
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.random import Generator, default_rng

MEMORY = 3 * 2**30
_SEED = 20261120
_ODD = (0, 1, 2, 3, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFE, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
_VRS = (b"US", b"UI", b"OW", b"OB", b"SQ", b"IS", b"DS", b"UN")
_REAL = (  # twice those that only GDCM decodes
    "CT_small", "MR_small_RLE", "MR_small_bigendian", "MR_small_implicit", "SC_rgb_rle", "CT1_JLSL", "emri_small",
    "CT1_JPLL", "CT1_JPLL", "MR1_JPLY", "MR1_JPLY",
)  # fmt: skip
_HEAD = 1500  # bytes in which most of a header lies


def mutated(case: int, seeds: list[Path]) -> tuple[str, bytes]:
    """(name, bytes) of one damaged file: up to three mutations of one of the seeds."""
    rng = default_rng([_SEED, case])
    path = seeds[case % len(seeds)]
    data = path.read_bytes()
    inside = rng.random() < 0.7  # else the container is damaged, and little gets past its own checks
    packed = path.name.endswith(".gz") and inside
    data = gzip.decompress(data) if packed else data
    for _ in range(int(rng.choice((1, 1, 1, 2, 3)))):
        data = _MUTATIONS[int(rng.integers(len(_MUTATIONS)))](data, rng, seeds)
    if path.suffix == ".png" and inside:
        data = _with_checksums(data)
    return f"case{case}{''.join(path.suffixes)}", gzip.compress(data, 1, mtime=0) if packed else data


def _flip(data: bytes, rng: Generator, seeds: list[Path]) -> bytes:
    out = bytearray(data)
    for at in rng.integers(0, max(len(out), 1), int(rng.choice((1, 1, 2, 4, 16)))):
        out[at : at + 1] = bytes([int(rng.integers(256))])
    return bytes(out)


def _flip_head(data: bytes, rng: Generator, seeds: list[Path]) -> bytes:
    return _flip(data[:_HEAD], rng, seeds) + data[_HEAD:]


def _cut(data: bytes, rng: Generator, seeds: list[Path]) -> bytes:
    return data[: int(rng.integers(0, len(data) + 1))]


def _length(data: bytes, rng: Generator, seeds: list[Path]) -> bytes:
    """An odd number where a length or a count may be: after a DICOM VR, in the NIfTI header, before a PNG chunk."""
    out, value = bytearray(data), int(rng.choice(_ODD))
    vrs = [i for i in range(132, min(len(out), 8 * _HEAD) - 8) if out[i : i + 2] in _VRS]
    chunks = [i - 4 for name in (b"IHDR", b"IDAT", b"IEND") if (i := data.find(name)) >= 4]
    if vrs and data[128:132] == b"DICM":
        at = int(rng.choice(vrs)) + 2 + int(rng.choice((0, 2, 4, 6)))
    elif chunks:
        at = int(rng.choice(chunks)) + int(rng.choice((0, 8, 12)))
    else:
        at = int(rng.choice((0, 40, 42, 44, 46, 70, 72, 76, 80, 84, 88, 108, 112, 116, 123, 252, 254, 280, 344, 348, 352)))
    width, order = int(rng.choice((1, 2, 4))), rng.choice(("little", "big"))
    out[at : at + width] = (value % 256**width).to_bytes(width, order)
    return bytes(out)


def _splice(data: bytes, rng: Generator, seeds: list[Path]) -> bytes:
    """A piece of another seed, or of this one, over or into the header."""
    other = seeds[int(rng.integers(len(seeds)))].read_bytes() if rng.random() < 0.5 else data
    start = int(rng.integers(0, max(min(len(other), 2 * _HEAD), 1)))
    piece = other[start : start + int(rng.choice((2, 8, 30, 150)))]
    at = int(rng.integers(0, max(min(len(data), 2 * _HEAD), 1)))
    return data[:at] + piece + data[at + (len(piece) if rng.random() < 0.5 else 0) :]


def _remove(data: bytes, rng: Generator, seeds: list[Path]) -> bytes:
    at = int(rng.integers(0, max(len(data), 1)))
    return data[:at] + data[at + int(rng.choice((1, 2, 8, 100))) :]


def _with_checksums(data: bytes) -> bytes:
    """Chunks of a PNG with sums that fit, so that damage gets as far as the decoder."""
    out, at = bytearray(data[:8]), 8
    while at + 12 <= len(data):
        length = struct.unpack_from(">I", data, at)[0]
        body = data[at + 4 : at + 8 + length]
        out += data[at : at + 4] + body + struct.pack(">I", zlib.crc32(body))
        at += 12 + length
    return bytes(out)


_MUTATIONS: tuple[Callable[[bytes, Generator, list[Path]], bytes], ...] = (
    _flip, _flip, _flip_head, _flip_head, _flip_head, _cut, _length, _length, _length, _splice, _remove,
)  # fmt: skip


def make_seeds(folder: Path, real: Path | None = None) -> None:
    """Small good files of every kind that is read, and a few of the real ones."""
    from medical_files import compressed, dicom, enhanced, lut, nifti, save
    from PIL import Image
    from pydicom import uid
    from pydicom.encaps import encapsulate

    image = (np.add.outer(np.arange(40) * 90, np.arange(36) * 70) % 4096).astype(np.int64)
    placed = dict(ImagePositionPatient=[0, 0, 0], ImageOrientationPatient=[1, 0, 0, 0, 1, 0], PixelSpacing=[1, 1])
    save(dicom(image, RescaleSlope="2", RescaleIntercept="-9", WindowCenter=40, WindowWidth=400, **placed), folder / "a.dcm")
    tables = dict(ModalityLUTSequence=[lut(np.arange(4096), 0, 12)], VOILUTSequence=[lut(np.arange(256), 5, 8)])
    save(dicom(image, **tables), folder / "lut.dcm")
    save(dicom(np.dstack([image // 16] * 3), bits=8, photometric="RGB"), folder / "rgb.dcm")
    save(enhanced(np.stack([image, image + 1, image + 2]), [0, 1, 2]), folder / "frames.dcm")
    for name, syntax in (("implicit", uid.ImplicitVRLittleEndian), ("deflated", uid.DeflatedExplicitVRLittleEndian)):
        data = dicom(image)
        data.file_meta.TransferSyntaxUID = syntax
        save(data, folder / f"{name}.dcm")
    for syntax in (uid.RLELossless, uid.JPEGLSLossless, uid.JPEG2000Lossless, uid.JPEG2000):
        options = {"j2k_cr": [5]} if syntax == uid.JPEG2000 else {}
        save(compressed(dicom(image), syntax, **options), folder / f"{syntax.rsplit('.', 1)[-1]}.dcm")
    stream = io.BytesIO()
    Image.fromarray((image // 16).astype(np.uint8)).save(stream, format="JPEG")
    data = dicom(image // 16, bits=8)
    data.PixelData = encapsulate([stream.getvalue()])
    data["PixelData"].is_undefined_length = True
    data.file_meta.TransferSyntaxUID = uid.JPEGBaseline8Bit
    save(data, folder / "jpeg.dcm")
    cube = (np.arange(6 * 5 * 4).reshape(6, 5, 4) * 31).astype(np.int16)
    nifti(folder / "a.nii", cube, np.diag([-2.0, 2, 3, 1]), slope=0.5, inter=3)
    nifti(folder / "b.nii.gz", cube, np.diag([-2.0, 2, 3, 1]))
    nifti(folder / "c.nii.gz", cube.astype(np.float32), np.diag([2.0, 2, 3, 1]))
    for mode in ("L", "I;16", "P", "RGBA", "LA", "1"):
        wide = mode == "I;16"
        grey = Image.fromarray(image.astype(np.uint16) * 16 if wide else (image // 16).astype(np.uint8))
        (grey if wide else grey.convert(mode)).save(folder / f"{mode.replace(';', '')}.png")
    for n, name in enumerate(_REAL if real else ()):
        (folder / f"real{n}.dcm").write_bytes((real / "dicom" / f"{name}.dcm").read_bytes())


def outcome(path: Path, scratch: Path) -> str:
    """What reading (and, where it reads, writing) one file comes to; anything but the project's own error is raised."""
    from medical_files import SECRETS

    from medjax import formats
    from medjax.types import MedjaxError

    def attempt(work: Callable[[], None]) -> bool:
        try:
            work()
        except MedjaxError as error:
            assert str(path.parent) in str(error) and "\n" not in str(error), "a sentence without the file"
            assert not any(secret in str(error) for secret in SECRETS.values()), "a sentence that tells the patient"
            return False
        return True

    def image(value_range: str | None) -> None:
        values, encoding = formats.read(path, value_range=value_range)
        assert np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1
        assert values.shape == (*formats.image_size(path), 1)
        blind = formats.Derivation(deidentify=value_range is None)
        formats.write(scratch / f"out{formats.suffix(path)}", values, encoding, derivation=blind)

    def volume() -> None:
        found = formats.read_volume(path)
        assert np.isfinite(found.values).all() and np.isfinite(found.affine).all() and found.values.ndim == 3
        formats.from_ras(formats.to_ras(found).values, found)
        formats.write_volume(scratch / f"out{''.join(path.suffixes)}", found)

    works = [volume] if ".nii" in path.name else [lambda: image(None)]
    if path.suffix == ".dcm":
        works += [lambda: image("window"), volume]
    formats.is_volume(path)
    return "read" if any([attempt(work) for work in works]) else "refused"


def main(seeds_folder: str, scratch_folder: str) -> None:
    """Reads every case on stdin, under the limit of memory."""
    import resource

    from medjax import formats  # noqa: F401  imported before the clock of the first file runs

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    warnings.simplefilter("ignore")
    seeds, scratch = sorted(Path(seeds_folder).iterdir()), Path(scratch_folder)
    print("ready", flush=True)
    for line in sys.stdin:
        name, data = mutated(int(line), seeds)
        path = scratch / name
        path.write_bytes(data)
        try:
            told = outcome(path, scratch)
        except BaseException as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            told = f"FAILED {type(error).__name__}: {error} ".replace("\n", " ")[:200]
            told += f" ({Path(where.filename).name}:{where.lineno})"
        path.unlink()
        print(f"{int(line)} {told}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
