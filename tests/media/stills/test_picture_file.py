"""Pictures as people have them, made into frames of video."""

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from media.base.errors import UnreadableMedia, UnsupportedMedia
from media.stills.picture_file import LONGEST_SIDE, MOST_PIXELS, fitting_size, is_still, load_frame
from tests.support.synthetic import make_video

RED, GREEN, BLUE, GREY = (220, 30, 30), (30, 200, 40), (20, 40, 210), (128, 128, 128)
SIZE = (96, 64)


def quarters(size=SIZE):
    """Return a picture of four colours: red, green above blue, grey."""
    width, height = size
    picture = Image.new("RGB", size, RED)
    picture.paste(GREEN, (width // 2, 0, width, height // 2))
    picture.paste(BLUE, (0, height // 2, width // 2, height))
    picture.paste(GREY, (width // 2, height // 2, width, height))
    return picture


def shown(path):
    """Return what a player shows of the frame that is made of a picture, (height, width, 3) RGB."""
    return load_frame(path).to_ndarray(format="rgb24").astype(int)


def corners(pixels):
    """Return the colours in the middles of the quarters: top left, top right, bottom left, bottom right."""
    height, width = pixels.shape[:2]
    return [tuple(pixels[y * height // 4, x * width // 4]) for y in (1, 3) for x in (1, 3)]


def assert_near(found, expected, most):
    assert np.abs(np.subtract(found, expected)).max() <= most, (found, expected)


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "bmp", "tiff"])
def test_colours_survive(tmp_path, ending):
    quarters().save(tmp_path / f"a.{ending}", **({"quality": 95} if ending in ("jpg", "webp") else {}))
    frame = load_frame(tmp_path / f"a.{ending}")
    assert is_still(tmp_path / f"a.{ending}")
    assert (frame.width, frame.height, frame.format.name) == (*SIZE, "yuv420p")
    assert (frame.color_range, frame.colorspace, frame.color_primaries, frame.color_trc) == (1, 1, 1, 1)
    assert_near(corners(shown(tmp_path / f"a.{ending}")), [RED, GREEN, BLUE, GREY], 4)


TURNED = {
    1: [RED, GREEN, BLUE, GREY],
    2: [GREEN, RED, GREY, BLUE],
    3: [GREY, BLUE, GREEN, RED],
    4: [BLUE, GREY, RED, GREEN],
    5: [RED, BLUE, GREEN, GREY],
    6: [BLUE, RED, GREY, GREEN],
    7: [GREY, GREEN, BLUE, RED],
    8: [GREEN, GREY, RED, BLUE],
}
"""What is shown for each value of Exif's Orientation (EXIF 2.32, 4.6.4)."""


@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize("ending", ["jpg", "png", "webp"])
def test_pictures_stand_upright(tmp_path, orientation, ending):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{ending}"
    quarters().save(path, exif=exif, **({} if ending == "png" else {"quality": 95}))
    pixels = shown(path)
    assert pixels.shape[:2] == (SIZE if orientation > 4 else SIZE[::-1])
    assert_near(corners(pixels), TURNED[orientation], 6)


def test_odd_sides_lose_their_last_row_or_column(tmp_path):
    quarters((97, 65)).save(tmp_path / "a.png")
    assert shown(tmp_path / "a.png").shape == (64, 96, 3)


def test_transparent_parts_are_black(tmp_path):
    picture = quarters().convert("RGBA")
    picture.putalpha(Image.new("L", SIZE, 255))
    picture.paste((255, 255, 255, 0), (0, 0, 48, 32))
    for ending in ("png", "webp"):
        picture.save(tmp_path / f"a.{ending}", lossless=True)
        assert_near(corners(shown(tmp_path / f"a.{ending}")), [(0, 0, 0), GREEN, BLUE, GREY], 4)


def test_palettes_with_a_transparent_colour(tmp_path):
    picture = quarters().quantize(4)
    transparent = picture.getpixel((10, 10))
    picture.save(tmp_path / "a.png", transparency=transparent)
    assert_near(corners(shown(tmp_path / "a.png")), [(0, 0, 0), GREEN, BLUE, GREY], 4)


def test_grey_of_16_bits(tmp_path):
    ramp = np.linspace(0, 65535, 256 * 32).reshape(32, 256).astype(np.uint16)
    Image.fromarray(ramp).save(tmp_path / "a.png")
    assert_near(shown(tmp_path / "a.png").mean(axis=2), ramp / 257, 3)


def test_colours_of_16_bits(tmp_path):
    import cv2

    deep = np.asarray(quarters())[..., ::-1].astype(np.uint16) * 257
    cv2.imwrite(str(tmp_path / "a.png"), deep)
    assert_near(corners(shown(tmp_path / "a.png")), [RED, GREEN, BLUE, GREY], 4)


def test_jpeg_for_print(tmp_path):
    """CMYK, whose four inks JPEG files of Adobe's programs store inverted."""
    quarters().convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    assert_near(corners(shown(tmp_path / "a.jpg")), [RED, GREEN, BLUE, GREY], 6)


def linear_profile():
    """Return an ICC profile (ICC.1:2001-04) of sRGB's primaries with samples that are proportional to light."""

    def xyz(*values):
        return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(value * 65536) for value in values))

    white, curve = (0.9642, 1.0, 0.8249), b"curv" + bytes(8)  # no entries: a straight line
    description = b"desc" + bytes(4) + struct.pack(">I", 7) + b"linear\0" + bytes(79)
    tags = {
        b"desc": description + bytes(-len(description) % 4),
        b"cprt": b"text" + bytes(4) + b"CC0\0",
        b"wtpt": xyz(*white),
        b"rXYZ": xyz(0.4361, 0.2225, 0.0139),
        b"gXYZ": xyz(0.3851, 0.7169, 0.0971),
        b"bXYZ": xyz(0.1431, 0.0606, 0.7141),
        **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve),
    }
    at, table, data = 132 + 12 * len(tags), b"", b""
    for name, value in tags.items():
        table += name + struct.pack(">2I", at + len(data), len(value))
        data += value
    head = struct.pack(
        ">I4sI4s4s4s12x4s28x3i48x",
        at + len(data),
        b"",
        0x02400000,
        b"mntr",
        b"RGB ",
        b"XYZ ",
        b"acsp",
        *(round(value * 65536) for value in white),
    )
    return head + struct.pack(">I", len(tags)) + table + data


def test_colours_are_as_the_profile_says(tmp_path):
    """Half the light is 188 in sRGB (IEC 61966-2-1)."""
    for name, mode in (("a.png", "RGB"), ("a.jpg", "RGB"), ("b.png", "RGBA")):
        Image.new(mode, SIZE, (128, 128, 128, 255)[: len(mode)]).save(tmp_path / name, icc_profile=linear_profile())
        assert_near(shown(tmp_path / name).mean(axis=(0, 1)), 188, 2)


def test_a_profile_of_other_colours_plays_no_part(tmp_path):
    unfit = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    for name, profile in (("unfit.png", unfit), ("broken.png", b"no profile")):
        quarters().save(tmp_path / name, icc_profile=profile)
        assert_near(corners(shown(tmp_path / name)), [RED, GREEN, BLUE, GREY], 4)


def test_huge_pictures_are_made_smaller(tmp_path):
    Image.new("RGB", (12000, 3000), BLUE).save(tmp_path / "a.jpg")
    frame = load_frame(tmp_path / "a.jpg")
    assert (frame.width, frame.height) == (4096, 1024)
    for size in [(8064, 6048), (3024, 4032), (20000, 40)]:
        width, height = fitting_size(*size)
        assert max(width, height) <= LONGEST_SIDE
        assert width * height <= MOST_PIXELS
        assert abs(width / height / (size[0] / size[1]) - 1) < 0.2 if height > 100 else height == 8
    assert fitting_size(3840, 2160) == (3840, 2160)


def with_frames(path, **options):
    quarters().save(path, save_all=True, append_images=[Image.new("RGB", SIZE, BLUE)], **options)


def test_of_several_pictures_the_first_is_taken(tmp_path):
    with_frames(tmp_path / "a.tiff")
    assert_near(corners(shown(tmp_path / "a.tiff")), [RED, GREEN, BLUE, GREY], 4)


def test_what_is_no_picture_for_a_video(tmp_path):
    with_frames(tmp_path / "animated.webp")
    Image.new("RGB", (300, 8)).save(tmp_path / "tiny.png")
    Image.fromarray(np.zeros((64, 64), np.float32)).save(tmp_path / "deep.tiff")
    quarters().save(tmp_path / "whole.jpg")
    for name, cut in (("cut.jpg", 600), ("head.jpg", 40)):
        (tmp_path / name).write_bytes((tmp_path / "whole.jpg").read_bytes()[:cut])
    for name, error, message in [
        ("animated.webp", UnsupportedMedia, "animated"),
        ("tiny.png", UnsupportedMedia, "300x8 pixels are too few"),
        ("deep.tiff", UnsupportedMedia, "floating-point"),
        ("cut.jpg", UnreadableMedia, "damaged"),
        ("head.jpg", UnreadableMedia, "picture"),
        ("absent.jpg", UnreadableMedia, "No such file"),
    ]:
        with pytest.raises(error, match=message):
            load_frame(tmp_path / name)


def test_more_pixels_than_pillow_opens(tmp_path, monkeypatch):
    quarters().save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert is_still(tmp_path / "a.png")
    with pytest.raises(UnsupportedMedia, match="too many pixels"):
        load_frame(tmp_path / "a.png")


def test_videos_are_no_stills(tmp_path):
    make_video(tmp_path / "a.mp4", 5)
    with_frames(tmp_path / "animated.png")
    one = io.BytesIO()
    quarters().save(one, "JPEG")
    (tmp_path / "many.mjpeg").write_bytes(one.getvalue() * 5)
    (tmp_path / "notes.txt").write_text("no picture")
    for name in ("a.mp4", "animated.png", "many.mjpeg", "notes.txt", "absent.png"):
        assert not is_still(tmp_path / name), name
