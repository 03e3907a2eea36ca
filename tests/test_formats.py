"""Files are read to [0, 1] and written back as they were; whatever else they hold is one sentence."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageFile

from medjax import formats
from medjax.types import DataError

H, W = 37, 29


def ramp(dtype, top):
    return np.linspace(0, top, H * W).reshape(H, W).round().astype(dtype)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".TIFF"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_depth_and_values_survive_the_round_trip(tmp_path, suffix, dtype):
    stored = ramp(dtype, np.iinfo(dtype).max)
    path, out = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    tifffile.imwrite(path, stored) if "tif" in suffix.lower() else Image.fromarray(stored).save(path)
    image, encoding = formats.read(path)
    assert image.shape == (H, W, 1) and image.dtype == np.float32
    np.testing.assert_allclose(image[..., 0], stored / np.iinfo(dtype).max, atol=1e-7)
    formats.write(out, image, encoding)
    back = tifffile.imread(out) if "tif" in suffix.lower() else np.asarray(Image.open(out))
    assert back.dtype == dtype
    np.testing.assert_array_equal(back, stored)
    assert formats.image_size(out) == (H, W)


def test_every_16_bit_value_survives(tmp_path):
    stored = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    Image.fromarray(stored).save(tmp_path / "a.png")
    formats.write(tmp_path / "b.png", *formats.read(tmp_path / "a.png"))
    assert Image.open(tmp_path / "b.png").mode == "I;16"
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "b.png")), stored)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_float_tiff_keeps_type_and_range(tmp_path, dtype):
    stored = np.linspace(-1000, 3000, H * W).reshape(H, W).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", stored)
    with pytest.raises(DataError, match="value_range"):
        formats.read(tmp_path / "a.tif")
    image, encoding = formats.read(tmp_path / "a.tif", value_range=(-1000, 3000))
    assert (image.min(), image.max()) == (0, 1)
    formats.write(tmp_path / "b.tif", image, encoding)
    back = tifffile.imread(tmp_path / "b.tif")
    assert back.dtype == dtype
    np.testing.assert_allclose(back.astype(float), stored.astype(float), atol=2e-3 if dtype != "float16" else 2)


def test_value_range_of_12_bit_files_is_restored(tmp_path):
    stored = ramp(np.uint16, 4095)
    Image.fromarray(stored).save(tmp_path / "a.png")
    image, encoding = formats.read(tmp_path / "a.png", value_range=(0, 4095))
    assert image.max() == 1
    formats.write(tmp_path / "b.png", image, encoding)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "b.png")), stored)
    with pytest.raises(DataError, match="must rise"):
        formats.read(tmp_path / "a.png", value_range=(5, 5))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P", "1"])
def test_grey_in_other_modes(tmp_path, mode):
    stored = ramp(np.uint8, 255) if mode != "1" else (ramp(np.uint8, 255) > 99).astype(np.uint8) * 255
    Image.fromarray(stored).convert(mode).save(tmp_path / "a.png")
    image, encoding = formats.read(tmp_path / "a.png")
    np.testing.assert_array_equal(np.rint(image[..., 0] * 255), stored)
    formats.write(tmp_path / "b.png", image, encoding)
    again = Image.open(tmp_path / "b.png")
    assert again.mode == (mode if mode in ("RGB", "RGBA", "LA") else "L")
    np.testing.assert_array_equal(np.asarray(again.convert("L")), stored)


def test_jpeg_keeps_tables_channels_and_resolution(tmp_path):
    stored = ramp(np.uint8, 255)
    for mode, quality in (("L", 37), ("RGB", 92)):
        Image.fromarray(stored).convert(mode).save(tmp_path / "a.jpg", quality=quality, dpi=(150, 150), subsampling=0)
        image, encoding = formats.read(tmp_path / "a.jpg")
        formats.write(tmp_path / "b.jpeg", image, encoding)
        first, second = Image.open(tmp_path / "a.jpg"), Image.open(tmp_path / "b.jpeg")
        assert (second.mode, second.info["dpi"]) == (mode, (150, 150))
        assert first.quantization == second.quantization
        assert abs(np.asarray(first, int) - np.asarray(second, int)).max() <= 6  # encoded twice with one table


def test_png_keeps_resolution(tmp_path):
    Image.fromarray(ramp(np.uint16, 65535)).save(tmp_path / "a.png", dpi=(200, 100))
    formats.write(tmp_path / "b.png", *formats.read(tmp_path / "a.png"))
    assert Image.open(tmp_path / "b.png").info["dpi"] == pytest.approx((200, 100), abs=0.1)


def test_tiff_photometric_palette_planes_and_compression(tmp_path):
    stored = ramp(np.uint16, 65535)
    tifffile.imwrite(tmp_path / "white.tif", stored, photometric="miniswhite", compression="zlib", resolution=(70, 70))
    image, encoding = formats.read(tmp_path / "white.tif")
    assert image[0, 0, 0] == 1 and image[-1, -1, 0] == 0
    formats.write(tmp_path / "again.tif", image, encoding)
    with tifffile.TiffFile(tmp_path / "again.tif") as file:
        page = file.pages[0]
        assert page.photometric == tifffile.PHOTOMETRIC.MINISWHITE and page.compression != 1
        assert page.tags["XResolution"].value == (70, 1)
        np.testing.assert_array_equal(page.asarray(), stored)
    for config in ("contig", "separate"):
        rgb = np.stack([stored] * 3, -1 if config == "contig" else 0)
        tifffile.imwrite(tmp_path / "rgb.tif", rgb, photometric="rgb", planarconfig=config)
        image, encoding = formats.read(tmp_path / "rgb.tif")
        np.testing.assert_allclose(image[..., 0], stored / 65535, atol=1e-7)
        formats.write(tmp_path / "rgb2.tif", image, encoding)
        assert tifffile.imread(tmp_path / "rgb2.tif").shape == (H, W, 3)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_lzw_tiff(tmp_path, dtype):
    stored = ramp(dtype, np.iinfo(dtype).max)
    Image.fromarray(stored).save(tmp_path / "a.tif", compression="tiff_lzw")
    image, encoding = formats.read(tmp_path / "a.tif")
    np.testing.assert_allclose(image[..., 0], stored / np.iinfo(dtype).max, atol=1e-7)
    formats.write(tmp_path / "b.tif", image, encoding)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "b.tif"), stored)


def test_a_cut_png_is_never_half_an_image(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    ImageFile.LOAD_TRUNCATED_IMAGES = True  # as other libraries leave it
    for length in range(0, len(data) - 16, 97):
        (tmp_path / "cut.png").write_bytes(data[:length])
        with pytest.raises(DataError, match=r"cut\.png"):
            formats.read(tmp_path / "cut.png")
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_damage_ends_in_an_image_or_a_data_error(tmp_path, suffix):
    rng = np.random.default_rng(1)
    path = tmp_path / f"a{suffix}"
    formats.write(
        path,
        ramp(np.uint8, 255)[..., None] / 255,
        formats.encoding({".jpg": "jpeg", ".tif": "tiff"}.get(suffix, "png")),
    )
    data = bytearray(path.read_bytes())
    for _ in range(150):
        damaged = bytearray(data)
        for place in rng.integers(0, len(data), 3):
            damaged[place] = rng.integers(256)
        path.write_bytes(bytes(damaged[: rng.integers(1, len(data) + 1)] if rng.random() < 0.3 else damaged))
        try:
            image, _ = formats.read(path)
            assert np.isfinite(image).all() and image.min() >= 0 and image.max() <= 1
        except DataError as error:
            assert path.name in str(error) and "\n" not in str(error)


def test_sentences_name_file_and_cause(tmp_path):
    grey = ramp(np.uint8, 255)
    colour = np.stack([grey, grey, 255 - grey], -1)
    veiled = np.dstack([grey, grey, grey, np.where(grey > 9, 255, 7).astype(np.uint8)])
    nan = np.where(grey == 9, np.nan, 0.5).astype(np.float32)
    Image.fromarray(colour).save(tmp_path / "colour.png")
    Image.fromarray(colour).save(tmp_path / "colour.jpg")
    Image.fromarray(veiled).save(tmp_path / "veiled.png")
    Image.fromarray(grey).save(tmp_path / "lie.png", format="JPEG")
    Image.fromarray(colour).convert("CMYK").save(tmp_path / "ink.jpg")
    tifffile.imwrite(tmp_path / "nan.tif", nan)
    tifffile.imwrite(tmp_path / "pages.tif", np.stack([grey, grey]), photometric="minisblack")
    tifffile.imwrite(tmp_path / "signed.tif", grey.astype(np.int16) - 100)
    (tmp_path / "zero.png").write_bytes(b"")
    (tmp_path / "page.tif").write_bytes(b"<html>not here</html>")
    (tmp_path / "a.xyz").write_bytes(b"1")
    (tmp_path / "dir.png").mkdir()
    expected = {
        "colour.png": "colour", "colour.jpg": "colour", "veiled.png": "transparent", "lie.png": "but JPEG", "ink.jpg": "CMYK",
        "nan.tif": "NaN", "pages.tif": "2 pages", "signed.tif": "value_range", "zero.png": "empty", "page.tif": "HTML",
        "a.xyz": "suffix", "dir.png": "folder", "absent.png": "absent",
    }  # fmt: skip
    for name, cause in expected.items():
        with pytest.raises(DataError, match=cause) as caught:
            formats.read(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value) and "\n" not in str(caught.value)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [9000, 10000, 60000])
def test_a_bomb_is_refused_by_its_header(tmp_path, side):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + body)
    tifffile.imwrite(tmp_path / "bomb.tif", np.zeros((9, 9), np.uint8), metadata=None)
    with tifffile.TiffFile(tmp_path / "bomb.tif", mode="r+b") as file:
        for tag in ("ImageWidth", "ImageLength"):
            file.pages[0].tags[tag].overwrite(side)
    for name in ("bomb.png", "bomb.tif"):
        with pytest.raises(DataError, match=rf"{name} claims"):
            formats.read(tmp_path / name)


def test_writing_is_whole_or_not_at_all(tmp_path):
    image, good = ramp(np.uint8, 255)[..., None] / 255, formats.encoding()
    formats.write(tmp_path / "a.png", image, good)
    before = (tmp_path / "a.png").read_bytes()
    for bad in (np.full((4, 4, 1), np.nan), np.zeros((4, 4)), np.zeros((4, 4, 3))):
        with pytest.raises(DataError, match=r"a\.png"):
            formats.write(tmp_path / "a.png", bad, good)
    with pytest.raises(DataError, match="suffix"):
        formats.write(tmp_path / "a.png", image, formats.encoding("jpeg"))
    with pytest.raises(DataError, match="cannot hold float32"):
        formats.write(tmp_path / "a.png", image, formats.encoding("png", "float32"))
    with pytest.raises(DataError, match="cannot be written"):
        formats.write(tmp_path / "no" / "a.png", image, good)
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"] and (tmp_path / "a.png").read_bytes() == before


def test_list_images(tmp_path):
    for name in ("b.png", "a.TIF", "sub/c.jpg", ".hidden.png", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert [p.name for p in formats.list_images(tmp_path)] == ["a.TIF", "b.png"]
    assert [p.name for p in formats.list_images(tmp_path, recursive=True)] == ["a.TIF", "b.png", "c.jpg"]
    for folder, cause in ((tmp_path / "absent", "absent"), (tmp_path / "b.png", "not a folder")):
        with pytest.raises(DataError, match=cause):
            formats.list_images(folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no image"):
        formats.list_images(tmp_path / "empty")


def test_real_radiographs_survive(tmp_path, real_data):
    for path in formats.list_images(real_data / "cxr_nih" / "images_1024")[:3]:
        image, encoding = formats.read(path)
        formats.write(tmp_path / "b.png", image, encoding)
        np.testing.assert_array_equal(
            np.asarray(Image.open(tmp_path / "b.png")), np.asarray(Image.open(path).convert("L"))
        )
