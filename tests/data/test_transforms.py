import numpy as np
import pytest
from PIL import Image

from attngan_jax.data import transforms
from attngan_jax.data.transforms import View


def _picture(width, height, seed=0):
    """Smooth noise, so that neighbouring pixels differ but not wildly."""
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 4 + 1, width // 4 + 1, 3))
    return Image.fromarray(coarse.astype(np.uint8)).resize((width, height), Image.BICUBIC)


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
    views = {
        transforms.choose_view(16, 16, size=16, resize_ratio=18 / 16, random_flip=True, rng=rng)
        for _ in range(400)
    }

    lefts = {round(view.window[0] * 18 / 16) for view in views}
    tops = {round(view.window[1] * 18 / 16) for view in views}
    assert lefts == tops == {0, 1, 2}
    assert len(views) == 3 * 3 * 2
    assert all(view.window[2] <= 16 and view.window[3] <= 16 for view in views)


def test_without_play_and_flip_nothing_is_random():
    rng = np.random.default_rng(0)
    views = {transforms.choose_view(64, 64, size=64, resize_ratio=1.0, rng=rng) for _ in range(20)}

    assert views == {View((0, 0, 64, 64), (0.0, 0.0, 64.0, 64.0), False)}


@pytest.mark.parametrize("width, height", [(97, 61), (61, 97), (33, 33), (200, 151)])
def test_rendering_is_resize_then_crop_then_flip(width, height):
    """The released code's order, done with Pillow step by step."""
    size, ratio, bbox = 32, 76 / 64, (20, 10, 30, 22)
    image, rng = _picture(width, height), np.random.default_rng(3)
    for _ in range(8):
        view = transforms.choose_view(
            width, height, size=size, resize_ratio=ratio, bbox=bbox, random_flip=True, rng=rng
        )
        inner = image.crop(transforms.box_bounds(width, height, bbox))
        shorter = int(size * ratio)
        scale = shorter / min(inner.size)
        resized = inner.resize(
            (int(inner.width * scale + 1e-9), int(inner.height * scale + 1e-9)), Image.BILINEAR
        )
        left = round(view.window[0] * resized.width / inner.width)
        top = round(view.window[1] * resized.height / inner.height)
        expected = np.asarray(resized)[top : top + size, left : left + size]
        expected = expected[:, ::-1] if view.flip else expected

        shown = np.asarray(transforms.render(image, view, size))

        assert np.abs(shown.astype(int) - expected).max() <= 1


def test_a_label_map_goes_the_way_of_its_picture():
    """Each label is painted in a grey of its own: the image's grey tells the label."""
    labels = np.zeros((48, 48), np.uint8)
    labels[4:30, 6:40] = 1
    labels[20:44, 30:46] = 2
    picture = Image.fromarray(np.repeat(labels[..., None] * 100, 3, 2).astype(np.uint8))
    rng = np.random.default_rng(0)
    for _ in range(10):
        view = transforms.choose_view(
            48, 48, size=32, resize_ratio=76 / 64, bbox=(8, 8, 26, 24), random_flip=True, rng=rng
        )
        shown = np.asarray(transforms.render(picture, view, 32)).astype(int)[..., 0]
        moved = np.asarray(
            transforms.render(Image.fromarray(labels), view, 32, resample=Image.Resampling.NEAREST)
        )

        assert set(np.unique(moved)) <= {0, 1, 2}
        agrees = np.abs(shown - 100 * moved.astype(int)) <= 50
        assert agrees.mean() > 0.97  # all but some pixels on the edges
        mirrored = np.abs(shown - 100 * moved[:, ::-1].astype(int)) <= 50
        assert mirrored.mean() < 0.9  # the check above can fail


def test_pyramid_levels_are_resized_from_the_picture_itself():
    picture = _picture(64, 64)

    levels = transforms.pyramid(picture, (16, 32, 64))

    assert {size: (level.shape, level.dtype) for size, level in levels.items()} == {
        size: ((size, size, 3), np.uint8) for size in (16, 32, 64)
    }
    np.testing.assert_array_equal(levels[64], np.asarray(picture))
    once = np.asarray(picture.resize((16, 16), Image.BILINEAR))
    np.testing.assert_array_equal(levels[16], once)
    twice = np.asarray(picture.resize((32, 32), Image.BILINEAR).resize((16, 16), Image.BILINEAR))
    assert (once != twice).any()  # the check above can fail


def test_short_captions_are_padded():
    caption, length = transforms.pad_caption([5, 3, 9], 5, np.random.default_rng(0))

    assert caption.tolist() == [5, 3, 9, 0, 0] and caption.dtype == np.int32 and length == 3


def test_by_the_other_rule_long_captions_keep_their_first_words():
    rng = np.random.default_rng(0)
    caption, length = transforms.pad_caption([5, 3, 9, 7], 3, rng, "first")

    assert caption.tolist() == [5, 3, 9] and length == 3
    caption, length = transforms.pad_caption([5, 3], 3, rng, "first")
    assert caption.tolist() == [5, 3, 0] and length == 2


def test_long_captions_keep_a_uniform_subset_in_order():
    rng = np.random.default_rng(0)
    words, max_words, draws = list(range(1, 11)), 4, 4_000
    counts = np.zeros(11, int)
    for _ in range(draws):
        caption, length = transforms.pad_caption(words, max_words, rng)
        assert length == max_words and (np.diff(caption) > 0).all()
        counts[caption] += 1

    expected = draws * max_words / len(words)
    deviation = np.sqrt(draws * 0.4 * 0.6)
    assert counts[0] == 0
    assert np.abs(counts[1:] - expected).max() < 4 * deviation
