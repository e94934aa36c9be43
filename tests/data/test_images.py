"""Image files of every kind and fault."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image, features
from PIL.PngImagePlugin import PngInfo

from hevitpose.data import load, verify_images
from hevitpose.data.images import file_sizes, look, read_image, size_of
from hevitpose.data.loader import PoseDataset
from hevitpose.errors import DataError
from tests.data import annotation_files as files

W, H = files.SIZE


def gradient(channels=3, depth=np.uint8):
    """Brighter to the right and, in the first channel, downwards."""
    ramp = np.linspace(0.1, 0.9, W)[None] * np.ones((H, 1))
    out = np.stack([ramp] * channels, -1)
    out[..., 0] *= np.linspace(0.3, 1, H)[:, None]
    return (out * np.iinfo(depth).max).astype(depth)


def whole(path, size=files.SIZE):
    assert look(path, size).fault is None
    image = read_image(path, size)
    assert image.dtype == np.uint8 and image.shape == (size[1], size[0], 3)
    return image.astype(int)


def test_grey(tmp_path):
    cv2.imwrite(str(tmp_path / "a.jpg"), gradient()[..., 1])
    image = whole(tmp_path / "a.jpg")
    assert (image[..., 0] == image[..., 2]).all()


def test_cmyk(tmp_path):
    Image.fromarray(gradient()[..., ::-1]).convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    with Image.open(tmp_path / "a.jpg") as check:
        assert check.mode == "CMYK"
    assert np.abs(whole(tmp_path / "a.jpg") - gradient()).mean() < 8


def test_sixteen_bits(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), gradient(depth=np.uint16))
    assert np.abs(whole(tmp_path / "a.png") - gradient()).max() <= 1


def test_alpha(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.dstack((gradient(), gradient()[..., :1])))
    np.testing.assert_array_equal(whole(tmp_path / "a.png"), gradient())


def exif(path, orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    Image.fromarray(gradient()[..., ::-1]).save(path, quality=95, exif=tags)


def test_exif_orientation_is_applied(tmp_path):
    exif(tmp_path / "a.jpg", 6)  # to be turned clockwise: 48 x 64 when seen
    for size in ((H, W), (0, 0)):
        assert look(tmp_path / "a.jpg", size).fault is None
        image = read_image(tmp_path / "a.jpg", size).astype(int)
        assert np.abs(image - np.rot90(gradient(), -1)).mean() < 3


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", "raw.png", ".avif"])
def test_an_orientation_that_opencv_does_not_take_turns_nothing(tmp_path, suffix):
    """XMP, ImageMagick's text, an AVIF's: Pillow would take it. Both must say what is read."""
    path = tmp_path / f"a{suffix}"
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/" tiff:Orientation="6"></x:xmpmeta>'
    picture = Image.fromarray(gradient()[..., ::-1])
    if suffix == ".avif":
        if not features.check("avif"):
            pytest.skip("this Pillow writes no AVIF")
        exif(path, 6)
        if not cv2.haveImageReader(str(path)):
            pytest.skip("this OpenCV reads no AVIF")
    elif suffix == "raw.png":
        tags = Image.Exif()
        tags[0x0112] = 6
        text = PngInfo()
        content = tags.tobytes()
        text.add_text("Raw profile type exif", f"\nexif\n{len(content)}\n{content.hex()}\n")
        picture.save(path, pnginfo=text)
    elif suffix == ".png":
        text = PngInfo()
        text.add_itxt("XML:com.adobe.xmp", xmp.decode())
        picture.save(path, pnginfo=text)
    else:
        picture.save(path, xmp=xmp)
    with Image.open(path) as header:
        assert header.getexif().get(0x0112) == 6
    assert read_image(path).shape[:2] == (H, W)
    assert size_of(path) == (W, H)
    assert look(path, (W, H)) == (None, "")
    assert "but the annotations say" in look(path, (H, W)).fault


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_tiff_has_one_form(tmp_path, orientation):
    exif(tmp_path / "a.tif", orientation)
    height, width = read_image(tmp_path / "a.tif").shape[:2]
    assert ((width, height) == (H, W)) == (orientation > 4)
    for stored in (False, True):
        assert size_of(tmp_path / "a.tif", stored) == (width, height)
        assert look(tmp_path / "a.tif", (width, height), stored) == (None, "")
        assert read_image(tmp_path / "a.tif", (width, height), stored).shape[:2] == (height, width)
    assert "but the annotations say" in look(tmp_path / "a.tif", (height, width)).fault


def test_exif_is_ignored_where_the_annotations_are_of_the_stored_pixels(tmp_path):
    exif(tmp_path / "a.jpg", 6)
    assert np.abs(whole(tmp_path / "a.jpg", (W, H)) - gradient()).mean() < 3


@pytest.mark.parametrize("orientation", [3, 6])
def test_stored_pixels_are_read_where_they_are_asked_for(tmp_path, orientation):
    exif(tmp_path / "a.jpg", orientation)
    for size in ((W, H), (0, 0)):
        assert look(tmp_path / "a.jpg", size, stored=True) == (None, "")
        image = read_image(tmp_path / "a.jpg", size, stored=True).astype(int)
        assert np.abs(image - gradient()).mean() < 3
    assert size_of(tmp_path / "a.jpg", stored=True) == (W, H)
    assert "but the annotations say" in look(tmp_path / "a.jpg", (H, W), stored=True).fault
    with pytest.raises(DataError, match="but the annotations say"):
        read_image(tmp_path / "a.jpg", (H, W), stored=True)


def cut(path, keep):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])


@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize("keep", [0.3, 0.9])
def test_truncated(tmp_path, suffix, keep):
    path = files.image(tmp_path / f"a.{suffix}")
    cut(path, keep)
    assert look(path, files.SIZE).fault == "truncated"
    with pytest.raises(DataError, match=r"a\.\w+: truncated, expected a whole image"):
        read_image(path)


def test_truncated_with_a_thumbnail(tmp_path):
    """The thumbnail's own end marker does not pass for the picture's."""
    path = files.image(tmp_path / "a.jpg")
    data = path.read_bytes()
    thumbnail = b"Exif\0\0" + data  # a whole JPEG inside an APP1 segment
    segment = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
    path.write_bytes(data[:2] + segment + data[2:-300])
    assert look(path).fault == "truncated"
    with pytest.raises(DataError, match="truncated"):
        read_image(path)


@pytest.mark.parametrize("behind", [b"\0" * 9, b"\r\n", b"maker's trailer" * 9])
def test_bytes_behind_the_end_are_harmless(tmp_path, behind):
    path = files.image(tmp_path / "a.jpg")
    before = whole(path)
    path.write_bytes(path.read_bytes() + behind)
    np.testing.assert_array_equal(whole(path), before)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "zero bytes"), (b"<html>not found</html>", "not an image"), (None, "No such file")],
)
def test_not_an_image(tmp_path, content, message):
    path = tmp_path / "a.jpg"
    if content is not None:
        path.write_bytes(content)
    assert message in look(path).fault
    with pytest.raises(DataError, match=message):
        read_image(path)


def test_stated_size(tmp_path):
    path = files.image(tmp_path / "a.jpg")
    assert look(path, (H, W)).fault == f"{W}x{H} pixels, but the annotations say {H}x{W}"
    with pytest.raises(DataError, match="but the annotations say 48x64"):
        read_image(path, (H, W))


def test_file_sizes(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "a.jpg").write_bytes(b"123")
    (tmp_path / "b/c.jpg").write_bytes(b"")
    found = file_sizes(tmp_path, ["b/c.jpg", "a.jpg", "x.jpg", "y/a.jpg", "b"])
    assert found.tolist() == [0, 3, -1, -1, -1]


# ---------------------------------------------------------------- before training starts


def test_absent_image(tmp_path):
    root = files.root(tmp_path)
    path = root / "mpii/annotations/mpii_val.json"
    people = files.mpii()
    people[1]["image"] = "gone.jpg"
    files.write(path, people)
    with pytest.raises(DataError, match=r"1 of the 2 images .* absent, the first are gone\.jpg"):
        load("mpii", root, "val", input_size=(64, 64))
    present = load("mpii", root, "val", input_size=(64, 64), present_only=True)
    assert (len(present), present.counts["absent_images"], present.skipped) == (1, 1, ())
    assert present.image_names.tolist() == [b"a.jpg"]
    skipped = load("mpii", root, "val", input_size=(64, 64), skip_bad=True)
    assert len(skipped) == 1 and skipped.skipped[0][:2] == ("image", "gone.jpg")
    files.write(path, people[1:])
    with pytest.raises(DataError, match="1 of the 1 images"):
        load("mpii", root, "val", input_size=(64, 64), skip_bad=True)
    with pytest.raises(DataError, match="no usable people"):
        load("mpii", root, "val", input_size=(64, 64), present_only=True)


def test_present_only_renumbers_images(tmp_path):
    root = files.root(tmp_path)
    content = files.coco()
    content["annotations"][0]["image_id"] = 9
    content["annotations"][1]["image_id"] = 9
    files.write(root / "coco/annotations/coco_val.json", content)
    (root / "coco/images/val2017/a.jpg").unlink()
    table = load("coco", root, "val", input_size=(64, 64), present_only=True)
    assert table.person_ids.tolist() == [100, 101] and table.image_ids.tolist() == [9]
    assert table.image_path(1).name == "b.jpg" and table.image_index.tolist() == [0, 0]


def test_empty_and_truncated_images_stop_before_training(tmp_path):
    root = files.root(tmp_path)
    image = root / "coco/images/val2017/a.jpg"
    cut(image, 0.8)
    table = load("coco", root, "val", input_size=(64, 64))  # by directory entries alone
    with pytest.raises(DataError, match=r"image a\.jpg: truncated"):
        verify_images(table)
    with pytest.raises(DataError, match="no usable people"):
        verify_images(table, skip_bad=True)
    with pytest.raises(DataError, match=r"a\.jpg: truncated"):
        PoseDataset(table, (64, 64))[0]
    image.write_bytes(b"")
    with pytest.raises(DataError, match=r"image a\.jpg: zero bytes"):
        load("coco", root, "val", input_size=(64, 64))


def test_verify_leaves_out_and_lists(tmp_path):
    root = files.root(tmp_path)
    people = [*files.mpii(), {**files.mpii()[0], "image": "b.jpg"}]
    files.write(root / "mpii/annotations/mpii_val.json", people)
    (root / "mpii/images/b.jpg").write_bytes(b"no picture")
    table = load("mpii", root, "val", input_size=(64, 64))
    seen = []
    good = verify_images(table, skip_bad=True, progress=lambda done, total: seen.append(done))
    assert good.person_ids.tolist() == [0, 1] and seen == [1, 2]
    assert [str(s) for s in good.skipped] == ["image b.jpg: not an image (10 bytes)"]
    assert good.counts["skipped"] == 1 and verify_images(good) is good
