"""Images of every kind come out upright and in the colours that a person would see."""

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw

from attngan_jax.data import decoding, transforms


def _picture(width=24, height=16):
    """Smooth colours, different in every corner."""
    corners = np.uint8([[[200, 40, 30], [40, 190, 60]], [[30, 60, 210], [220, 210, 60]]])
    return Image.fromarray(corners).resize((width, height), Image.BILINEAR)


def _encoded(image, image_format="PNG", **kwargs):
    stream = io.BytesIO()
    image.save(stream, image_format, **{"quality": 95, "lossless": True, "subsampling": 0} | kwargs)
    return stream.getvalue()


def _decoded(encoded):
    image = decoding.decode_image(encoded)
    assert image.mode == "RGB"
    return np.asarray(image).astype(int)


def _assert_close(array, expected, tolerance):
    assert array.shape == np.shape(expected)
    assert np.abs(array - np.asarray(expected).astype(int)).max() <= tolerance


@pytest.mark.parametrize(
    "mode, image_format, tolerance",
    [
        ("RGB", "PNG", 0),
        ("L", "PNG", 0),
        ("P", "PNG", 0),
        ("1", "PNG", 0),
        ("LA", "PNG", 0),
        ("RGBA", "PNG", 0),
        ("P", "GIF", 0),
        ("RGB", "BMP", 0),
        ("L", "JPEG", 12),
        ("RGB", "WEBP", 12),
        ("RGBA", "WEBP", 12),
        ("RGB", "JPEG", 12),
        ("CMYK", "JPEG", 12),
        ("CMYK", "TIFF", 0),
    ],
)
def test_decoding_gives_the_colours(mode, image_format, tolerance):
    image = _picture().convert(mode)

    _assert_close(_decoded(_encoded(image, image_format)), image.convert("RGB"), tolerance)


@pytest.mark.parametrize("image_format", ["PNG", "TIFF", "PPM"])
def test_of_16_bits_the_upper_8_are_shown(image_format):
    levels = np.linspace(0, 65_535, 24 * 16).astype(np.uint16).reshape(16, 24)

    decoded = _decoded(_encoded(Image.fromarray(levels), image_format))

    np.testing.assert_array_equal(decoded, np.repeat((levels >> 8)[..., None], 3, -1))


def test_what_is_transparent_is_shown_over_white():
    colours = np.asarray(_picture())
    alpha = np.zeros((16, 24, 1), np.uint8)
    alpha[4:, :], alpha[12:, :] = 128, 255
    image = Image.fromarray(np.concatenate([colours, alpha], -1))
    expected = colours * (alpha / 255) + 255 * (1 - alpha / 255)

    _assert_close(_decoded(_encoded(image)), expected, 1)
    assert (_decoded(_encoded(image))[:4] == 255).all()

    grey = image.convert("LA")
    grey_expected = np.asarray(grey.getchannel("L"))[..., None] * (alpha / 255) + (255 - alpha)
    _assert_close(_decoded(_encoded(grey)), np.repeat(grey_expected, 3, -1), 1)


def test_transparent_colours_of_a_palette_and_of_rgb():
    image = Image.new("P", (4, 2))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)
    expected = np.full((2, 4, 3), 255)
    expected[0, 1] = 200, 100, 50
    for image_format in ("PNG", "GIF"):
        encoded = _encoded(image, image_format, transparency=0)
        np.testing.assert_array_equal(_decoded(encoded), expected)

    rgb = _encoded(image.convert("RGB"), transparency=(10, 20, 30))
    np.testing.assert_array_equal(_decoded(rgb), expected)


def _turned(image, bbox, orientation):
    """What a camera held in another way stores: the image and box, turned back by hand."""
    width, height = image.size
    x, y, w, h = bbox
    pixels = np.asarray(image)
    if orientation in (2, 3, 6, 7):  # the upright image's columns are stored backwards
        pixels, x = pixels[:, ::-1], width - x - w
    if orientation in (3, 4, 7, 8):
        pixels, y = pixels[::-1], height - y - h
    if orientation >= 5:
        pixels, (x, y, w, h) = pixels.swapaxes(0, 1), (y, x, h, w)
    return Image.fromarray(np.ascontiguousarray(pixels)), (x, y, w, h)


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_pictures_come_out_upright_with_their_boxes(orientation, image_format):
    upright, bbox = Image.new("RGB", (48, 32), (20, 40, 160)), (32, 16, 8, 8)
    ImageDraw.Draw(upright).rectangle((32, 16, 39, 23), (250, 220, 60))
    stored, stored_box = _turned(upright, bbox, orientation)
    exif = Image.Exif()
    exif[0x0112] = orientation
    encoded = _encoded(stored, image_format, exif=exif)
    if image_format == "JPEG":  # the standard's own words for it, whatever the code does
        assert stored.size == ((48, 32) if orientation < 5 else (32, 48))

    image, box = decoding.decode_with_box(encoded, stored_box)

    assert decoding.stored_size(Image.open(io.BytesIO(encoded))) == stored.size
    assert tuple(box) == bbox
    _assert_close(np.asarray(image).astype(int), upright, 25)
    yellow = np.asarray(image.crop((32, 16, 40, 24))).mean((0, 1))
    _assert_close(yellow, (250, 220, 60), 12)


def test_orientation_6_is_a_quarter_turn_to_the_right():
    """By hand: the top of the stored image is the right of the upright one."""
    stored = Image.new("RGB", (4, 2), "black")
    stored.putpixel((0, 0), (255, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = 6

    decoded = _decoded(_encoded(stored, exif=exif))

    assert decoded.shape == (4, 2, 3)
    assert np.argwhere(decoded[..., 0] == 255).tolist() == [[0, 1]]


@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\x00\x00garbage that is no TIFF header",
        b"Exif\x00\x00II*\x00\xff\xff\xff\x7f",
        b"no exif at all",
    ],
)
def test_a_broken_exif_entry_does_not_break_the_picture(exif):
    image = _picture()

    _assert_close(_decoded(_encoded(image, "JPEG", exif=exif)), image, 12)


def test_an_orientation_that_does_not_exist_is_upright():
    exif = Image.Exif()
    exif[0x0112] = 77

    np.testing.assert_array_equal(_decoded(_encoded(_picture(), exif=exif)), _picture())


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "GIF"])
def test_what_is_cut_short_or_no_picture_is_refused(image_format):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    encoded = _encoded(Image.fromarray(noise), image_format)
    for broken in (encoded[: len(encoded) // 2], b"", b"not an image", encoded[:20]):
        with pytest.raises((OSError, SyntaxError, ValueError)):
            decoding.decode_image(broken)


def test_a_turned_box_crops_the_same_part():
    """From bytes to crop: the bird stays in its square whichever way the camera was held."""
    upright, bbox = _picture(60, 40), (30, 10, 12, 8)
    crops = []
    for orientation in range(1, 9):
        stored, stored_box = _turned(upright, bbox, orientation)
        exif = Image.Exif()
        exif[0x0112] = orientation
        image, box = decoding.decode_with_box(_encoded(stored, exif=exif), stored_box)
        view = transforms.choose_view(*image.size, size=16, resize_ratio=1.0, bbox=box)
        crops.append(np.asarray(transforms.render(image, view, 16)))

    assert all((crop == crops[0]).all() for crop in crops)


def test_label_maps_keep_their_numbers():
    labels = np.arange(35, dtype=np.uint8).reshape(5, 7)

    decoded = decoding.decode_labels(_encoded(Image.fromarray(labels)))

    np.testing.assert_array_equal(np.asarray(decoded), labels)
