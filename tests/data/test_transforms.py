"""Images of every kind come out upright in the colours that a person would see; crops, captions."""

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw
from PIL.Image import Resampling

from attngan_jax.data import transforms
from attngan_jax.data.transforms import View, decode_image, decode_with_box
from tests.made_up_sources import as_file


def _smooth():
    """Smooth colours, different in every corner."""
    corners = np.uint8([[[200, 40, 30], [40, 190, 60]], [[30, 60, 210], [220, 210, 60]]])
    return Image.fromarray(corners).resize((24, 16), Resampling.BILINEAR)


def _noise(width, height):
    """Smooth noise, so that neighbouring pixels differ but not wildly."""
    coarse = np.random.default_rng(0).integers(0, 256, (height // 4 + 1, width // 4 + 1, 3))
    return Image.fromarray(coarse.astype(np.uint8)).resize((width, height), Resampling.BICUBIC)


def _encoded(image, image_format="PNG", orientation=None, **options):
    if orientation:
        options["exif"] = Image.Exif()
        options["exif"][0x0112] = orientation
    return as_file(image, image_format, **{"lossless": True, "subsampling": 0} | options)


def _decoded(encoded):
    image = decode_image(encoded)
    assert image.mode == "RGB"
    return np.asarray(image).astype(int)


def _assert_close(array, expected, tolerance):
    assert np.shape(array) == np.shape(expected)
    assert np.abs(np.asarray(array).astype(int) - np.asarray(expected)).max() <= tolerance


EXACT = {"PNG": ("RGB", "L", "P", "1", "LA", "RGBA"), "GIF": ("P",), "BMP": ("RGB",)}
CLOSE = {"JPEG": ("L", "RGB", "CMYK"), "WEBP": ("RGB", "RGBA")}
KINDS = [(kind, mode, 0) for kind, modes in (EXACT | {"TIFF": ("CMYK",)}).items() for mode in modes]
KINDS += [(kind, mode, 12) for kind, modes in CLOSE.items() for mode in modes]


@pytest.mark.parametrize("image_format, mode, tolerance", KINDS)
def test_decoding_gives_the_colours(image_format, mode, tolerance):
    image = _smooth().convert(mode)
    _assert_close(_decoded(_encoded(image, image_format)), image.convert("RGB"), tolerance)


@pytest.mark.parametrize("image_format", ["PNG", "TIFF"])
def test_of_16_bits_the_upper_8_are_shown(image_format):
    levels = np.linspace(0, 65_535, 24 * 16).astype(np.uint16).reshape(16, 24)
    decoded = _decoded(_encoded(Image.fromarray(levels), image_format))
    np.testing.assert_array_equal(decoded, np.repeat((levels >> 8)[..., None], 3, -1))


def test_what_is_transparent_is_shown_over_white():
    alpha = np.zeros((16, 24, 1), np.uint8)
    alpha[4:, :], alpha[12:, :] = 128, 255
    image = Image.fromarray(np.concatenate([np.asarray(_smooth()), alpha], -1))
    for shown in (image, image.convert("LA")):
        opaque = np.asarray(shown.convert("RGB"))
        expected = opaque * (alpha / 255) + 255 * (1 - alpha / 255)
        _assert_close(_decoded(_encoded(shown)), expected, 1)
        assert (_decoded(_encoded(shown))[:4] == 255).all()


def test_transparent_colours_of_a_palette_and_of_rgb():
    image = Image.new("P", (4, 2))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)
    expected = np.full((2, 4, 3), 255)
    expected[0, 1] = 200, 100, 50
    files = [_encoded(image, kind, transparency=0) for kind in ("PNG", "GIF")]
    for encoded in (*files, _encoded(image.convert("RGB"), transparency=(10, 20, 30))):
        np.testing.assert_array_equal(_decoded(encoded), expected)


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
def test_turned_images_come_out_upright_with_their_boxes(orientation, image_format):
    upright, bbox = Image.new("RGB", (48, 32), (20, 40, 160)), (32, 16, 8, 8)
    ImageDraw.Draw(upright).rectangle((32, 16, 39, 23), (250, 220, 60))
    stored, stored_box = _turned(upright, bbox, orientation)
    encoded = _encoded(stored, image_format, orientation)
    if image_format == "JPEG":  # the standard's own words for it, whatever the code does
        assert stored.size == ((48, 32) if orientation < 5 else (32, 48))
    image, box = decode_with_box(encoded, stored_box)
    assert transforms.stored_size(Image.open(io.BytesIO(encoded))) == stored.size
    assert tuple(box) == bbox
    _assert_close(image, upright, 25 if image_format == "JPEG" else 0)
    yellow = np.asarray(image.crop((32, 16, 40, 24))).mean((0, 1))
    _assert_close(yellow, (250, 220, 60), 12)


def test_orientation_6_is_a_quarter_turn_to_the_right():
    """By hand: the top of the stored image is the right of the upright one."""
    stored = Image.new("RGB", (4, 2), "black")
    stored.putpixel((0, 0), (255, 0, 0))
    decoded = _decoded(_encoded(stored, orientation=6))
    assert decoded.shape == (4, 2, 3)
    assert np.argwhere(decoded[..., 0] == 255).tolist() == [[0, 1]]


BROKEN_EXIF = (b"garbage that is no TIFF header", b"II*\x00\xff\xff\xff\x7f")


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("exif", [*(b"Exif\x00\x00" + e for e in BROKEN_EXIF), b"no exif at all"])
def test_a_broken_exif_entry_does_not_break_the_image(exif):
    _assert_close(_decoded(_encoded(_smooth(), "JPEG", exif=exif)), _smooth(), 12)


def test_an_orientation_that_does_not_exist_is_upright():
    np.testing.assert_array_equal(_decoded(_encoded(_smooth(), orientation=77)), _smooth())


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "GIF"])
def test_what_is_cut_short_or_no_image_is_refused(image_format):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    encoded = _encoded(Image.fromarray(noise), image_format)
    for broken in (encoded[: len(encoded) // 2], b"", b"not an image", encoded[:20]):
        with pytest.raises((OSError, SyntaxError, ValueError)):
            decode_image(broken)


def test_label_maps_keep_their_numbers():
    labels = np.arange(35, dtype=np.uint8).reshape(5, 7)
    decoded = transforms.decode_labels(_encoded(Image.fromarray(labels)))
    np.testing.assert_array_equal(np.asarray(decoded), labels)


@pytest.mark.parametrize(
    "bbox, bounds",
    [
        ((0, 0, 0, 0), (0, 0, 500, 375)),
        ((200, 150, 100, 40), (175, 95, 325, 245)),  # centre 250, 170; half side 75
        ((200, 150, 41, 60), (175, 135, 265, 225)),  # centre 220.5 -> 220, 180; half side 45
        ((200.9, 150.9, 100.9, 40.9), (175, 95, 325, 245)),  # the released code drops fractions
        ((10, 20, 200, 300), (0, 0, 335, 375)),  # clipped at three sides
        ((-40, -30, 100, 80), (0, 0, 85, 85)),  # centre 10, 10; half side 75
        ((490, 360, 40, 60), (465, 345, 500, 375)),  # centre 510, 390; half side 45
        ((0, 0, 5000, 5000), (0, 0, 500, 375)),
        ((700, 100, 80, 80), (0, 0, 500, 375)),  # outside: the whole image
        ((100, -300, 80, 80), (0, 0, 500, 375)),
        ((100, 100, 80, -3), (0, 0, 500, 375)),
        ((100, 100, 1, 1), (0, 0, 500, 375)),  # half a pixel of half side is none
    ],
)
def test_box_crop(bbox, bounds):
    assert transforms.box_bounds(500, 375, bbox) == bounds


def test_a_central_view_shows_the_middle():
    # 40 x 20 is resized to 80 x 40 in effect; of these, pixels 24..56 and 4..36 are shown.
    view = transforms.choose_view(40, 20, size=32, resize_ratio=1.25, random_flip=True)
    assert view == View((0, 0, 40, 20), (12.0, 2.0, 28.0, 18.0), False)


def test_random_views_cover_all_positions_and_both_sides():
    rng = np.random.default_rng(0)
    settings = {"size": 16, "resize_ratio": 18 / 16, "random_flip": True, "rng": rng}
    views = {transforms.choose_view(16, 16, **settings) for _ in range(400)}
    lefts = {round(view.window[0] * 18 / 16) for view in views}
    tops = {round(view.window[1] * 18 / 16) for view in views}
    assert lefts == tops == {0, 1, 2} and len(views) == 3 * 3 * 2
    assert all(view.window[2] <= 16 and view.window[3] <= 16 for view in views)
    # Without play and flip nothing is random.
    settings |= {"resize_ratio": 1.0, "random_flip": False}
    views = {transforms.choose_view(16, 16, **settings) for _ in range(20)}
    assert views == {View((0, 0, 16, 16), (0.0, 0.0, 16.0, 16.0), False)}


@pytest.mark.parametrize("width, height", [(97, 61), (61, 97), (33, 33), (200, 151)])
def test_rendering_is_resize_then_crop_then_flip(width, height):
    """The released code's order, done with Pillow step by step."""
    size, ratio, bbox = 32, 76 / 64, (20, 10, 30, 22)
    image, rng = _noise(width, height), np.random.default_rng(3)
    settings = {"size": size, "resize_ratio": ratio, "bbox": bbox, "random_flip": True}
    for _ in range(8):
        view = transforms.choose_view(width, height, rng=rng, **settings)
        inner = image.crop(transforms.box_bounds(width, height, bbox))
        scale = int(size * ratio) / min(inner.size)
        resized = inner.resize([int(side * scale + 1e-9) for side in inner.size], Image.BILINEAR)
        left = round(view.window[0] * resized.width / inner.width)
        top = round(view.window[1] * resized.height / inner.height)
        expected = np.asarray(resized)[top : top + size, left : left + size]
        expected = expected[:, ::-1] if view.flip else expected
        _assert_close(transforms.render(image, view, size), expected, 1)


def test_a_label_map_goes_the_way_of_its_image():
    """Each label is painted in a grey of its own: the image's grey tells the label."""
    labels = np.zeros((48, 48), np.uint8)
    labels[4:30, 6:40] = 1
    labels[20:44, 30:46] = 2
    image = Image.fromarray(np.repeat(labels[..., None] * 100, 3, 2).astype(np.uint8))
    rng = np.random.default_rng(0)
    settings = {"size": 32, "resize_ratio": 76 / 64, "bbox": (8, 8, 26, 24), "random_flip": True}
    for _ in range(10):
        view = transforms.choose_view(48, 48, rng=rng, **settings)
        shown = np.asarray(transforms.render(image, view, 32)).astype(int)[..., 0]
        moved = transforms.render(Image.fromarray(labels), view, 32, resample=Resampling.NEAREST)
        moved = np.asarray(moved).astype(int)
        assert set(np.unique(moved)) <= {0, 1, 2}
        agrees = np.abs(shown - 100 * moved) <= 50
        assert agrees.mean() > 0.97  # all but some pixels on the edges
        mirrored = np.abs(shown - 100 * moved[:, ::-1]) <= 50
        assert mirrored.mean() < 0.9  # the check above can fail


def test_pyramid_levels_are_resized_from_the_image_itself():
    image = _noise(64, 64)
    levels = transforms.pyramid(image, (16, 32, 64))
    found = [(size, level.shape, level.dtype) for size, level in levels.items()]
    assert found == [(size, (size, size, 3), np.uint8) for size in (16, 32, 64)]
    np.testing.assert_array_equal(levels[64], np.asarray(image))
    once = np.asarray(image.resize((16, 16), Resampling.BILINEAR))
    np.testing.assert_array_equal(levels[16], once)
    twice = image.resize((32, 32), Resampling.BILINEAR).resize((16, 16), Resampling.BILINEAR)
    assert (once != np.asarray(twice)).any()  # the check above can fail


def test_short_captions_are_padded_and_by_one_rule_the_first_words_kept():
    for rule, words, expected in (
        ("random_subset", [5, 3, 9], [5, 3, 9, 0, 0]),
        ("first", [5, 3], [5, 3, 0, 0, 0]),
        ("first", [5, 3, 9, 7, 8, 6], [5, 3, 9, 7, 8]),
    ):
        caption, length = transforms.pad_caption(words, 5, np.random.default_rng(0), rule)
        assert caption.tolist() == expected and caption.dtype == np.int32
        assert length == np.count_nonzero(expected)


def test_long_captions_keep_a_uniform_subset_in_order():
    rng = np.random.default_rng(0)
    words, max_words, draws = list(range(1, 11)), 4, 4_000
    counts = np.zeros(11, int)
    for _ in range(draws):
        caption, length = transforms.pad_caption(words, max_words, rng, "random_subset")
        assert length == max_words and (np.diff(caption) > 0).all()
        counts[caption] += 1

    assert counts[0] == 0
    deviation = np.sqrt(draws * 0.4 * 0.6)
    assert np.abs(counts[1:] - draws * max_words / len(words)).max() < 4 * deviation


def test_by_another_rule_they_keep_a_window_anywhere():
    """4 of 10 words in a row begin at 13 places from -3 to 9, moved inside; four at least have a
    word, the first and the last included."""
    rng, draws = np.random.default_rng(0), 2000
    starts, counts = set(), np.zeros(11)
    for _ in range(draws):
        caption, length = transforms.pad_caption(range(1, 11), 4, rng, "window")
        assert length == 4 and (np.diff(caption) == 1).all()
        starts.add(int(caption[0]))
        counts[caption] += 1
    assert starts == set(range(1, 8))
    share = 4 / 13
    deviation = np.sqrt(draws * share * (1 - share))
    assert abs(counts[1:].min() - draws * share) < 4 * deviation
    assert np.abs(counts[[1, 10]] - draws * share).max() < 4 * deviation


def test_a_large_jpeg_is_decoded_smaller_with_its_box(monkeypatch):
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (60, 80, 3), np.uint8))
    large = as_file(noise.resize((1600, 1200), Resampling.BICUBIC), "JPEG")
    box = (200.0, 100.0, 800.0, 800.0)
    image, scaled = transforms.decode_with_box(large, box, at_least=152)
    assert image.size == (200, 150) or image.size == (400, 300)
    np.testing.assert_allclose(scaled, np.array(box) * image.width / 1600)
    assert transforms.decode_with_box(large, box)[0].size == (1600, 1200)
    assert transforms.decode_with_box(large, box, at_least=601)[0].size == (1600, 1200)
    shown = []
    for at_least in (0, 152):
        whole, part = transforms.decode_with_box(large, box, at_least=at_least)
        view = transforms.choose_view(*whole.size, size=64, resize_ratio=76 / 64, bbox=part)
        shown.append(np.asarray(transforms.render(whole, view, 64)).astype(int))
    assert np.abs(shown[0] - shown[1]).mean() < 4  # of 256 levels
