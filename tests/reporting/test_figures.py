"""Grids, overlays and the figures that `sample` writes."""

import numpy as np
import pytest
from PIL import Image

from attngan_jax.reporting import figures


def test_image_grid_places_pictures_row_by_row():
    images = np.stack([np.full((2, 3, 3), value, np.uint8) for value in (10, 20, 30)])
    grid = figures.image_grid(images, columns=2, pad=1)
    assert grid.shape == (2 * 3 + 1, 2 * 4 + 1, 3)
    assert (grid[1:3, 1:4] == 10).all() and (grid[1:3, 5:8] == 20).all()
    assert (grid[4:6, 1:4] == 30).all()
    assert (grid[4:6, 5:8] == 255).all() and (grid[0] == 255).all()


def test_image_grid_is_no_wider_than_its_pictures():
    assert figures.image_grid(np.zeros((2, 4, 4, 3), np.uint8), columns=9, pad=0).shape == (4, 8, 3)


def test_one_hot_cell_brightens_its_corner_and_dims_the_rest():
    image = np.full((16, 16, 3), 120, np.uint8)
    attention = np.zeros((4, 4), np.float32)
    attention[0, 3] = 0.3
    lit = figures.overlay_attention(image, attention).astype(int)
    assert lit.shape == image.shape
    assert lit[0, 15].sum() > 3 * 120  # row 0, last column: the hot one
    for row, column in ((0, 0), (15, 0), (15, 15)):
        np.testing.assert_array_equal(lit[row, column], round(figures.DIMMED * 120))
    assert lit[0, 15, 0] > lit[0, 15, 2]  # warm: more red than blue


def test_overlay_closed_form_for_full_attention():
    image = np.full((8, 8, 3), 100, np.uint8)
    lit = figures.overlay_attention(image, np.full((2, 2), 0.7))
    expected = 100 + (np.array(figures.HEAT) - 100) * figures.HEAT_STRENGTH
    np.testing.assert_array_equal(lit[3, 3], np.rint(expected))


def test_overlay_scales_with_the_given_peak_and_survives_an_empty_map():
    image = np.full((4, 4, 3), 100, np.uint8)
    half = figures.overlay_attention(image, np.full((2, 2), 0.5), peak=1.0)
    full = figures.overlay_attention(image, np.full((2, 2), 0.5))
    assert half.sum() < full.sum()
    assert (figures.overlay_attention(image, np.zeros((2, 2))) == round(figures.DIMMED * 100)).all()


def test_attention_scores_are_the_weight_above_an_even_spread():
    maps = np.array([[[0.25, 0.25]], [[0.9, 0.1]], [[0.0, 0.5]]])
    mean = 2.0 / 6
    np.testing.assert_allclose(figures.attention_scores(maps), [0, 0.9 - mean, 0.5 - mean])


def test_wrapped_lines_fit_and_lose_nothing():
    text = "a small bird with " + "w" * 60 + " wings"
    lines = figures.wrapped(text, 120)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert len(lines) > 3
    assert all(figures._text_width(line) <= 120 for line in lines)


def test_captioned_grid_has_the_pictures_and_text_below(tmp_path):
    colors = [(200, 0, 0), (0, 200, 0), (0, 0, 200)]
    images = np.stack([np.full((64, 64, 3), color, np.uint8) for color in colors])
    path = tmp_path / "new" / "grid.png"
    figures.captioned_grid(images, ["a red one", "a green one", "blue " * 20], path, columns=2)
    grid = np.asarray(Image.open(path))
    tile, margin = figures.SMALLEST_TILE, figures.MARGIN
    assert grid.shape[1] == 2 * (tile + margin) + margin
    assert tuple(grid[margin + 50, margin + 50]) == colors[0]
    assert tuple(grid[margin + 50, 2 * margin + tile + 50]) == colors[1]
    below = grid[margin + tile : margin + tile + 24, margin : margin + tile]
    assert below.min() < 80  # ink
    assert [file.name for file in path.parent.iterdir()] == ["grid.png"]


@pytest.mark.parametrize("max_words, columns", [(None, 4), (2, 3)])
def test_attention_figure_has_a_row_a_stage_and_a_column_a_word(tmp_path, max_words, columns):
    images = {size: np.full((size, size, 3), 120, np.uint8) for size in (4, 8, 16)}
    attention = {size: np.zeros((5, size // 2, size // 2), np.float32) for size in (8, 16)}
    for maps in attention.values():
        maps[0, 0, 0], maps[2, -1, -1] = 0.2, 0.9
    path = tmp_path / "attention.png"
    figures.attention_figure(images, attention, ["a", "red", "bird"], path, max_words=max_words)
    figure = np.asarray(Image.open(path)).astype(int)
    tile, margin, line = 112, figures.MARGIN, figures.LINE_HEIGHT
    assert figure.shape[1] == columns * (tile + margin) + margin
    assert figure.shape[0] == margin + 2 * (tile + 2 * line + margin)
    for row in range(2):
        top = margin + line + row * (tile + 2 * line + margin)
        last = figure[top : top + tile, -margin - tile : -margin]  # "bird": lit at the bottom right
        first = figure[top : top + tile, margin : margin + tile]  # the bare image
        assert last[-1, -1].sum() > 3 * 120 > last[0, 0].sum()
        assert (first == 120).all()
