"""Grids, overlays, and the figures that `sample` and a report write: which image stands where."""

import numpy as np
import pytest
from PIL import Image
from synthetic_run import CAPTIONS, SIZES, STEPS

from attngan_jax.reporting import figures, page, run_files
from attngan_jax.reporting.figures import LINE_HEIGHT, MARGIN


def plain(value, size=8):
    return np.full((size, size, 3), value, np.uint8)


def test_image_grid_places_images_row_by_row():
    images = np.stack([np.full((2, 3, 3), value, np.uint8) for value in (10, 20, 30)])
    grid = figures.image_grid(images, columns=2, pad=1)
    assert grid.shape == (2 * 3 + 1, 2 * 4 + 1, 3)
    assert (grid[1:3, 1:4] == 10).all() and (grid[1:3, 5:8] == 20).all()
    assert (grid[4:6, 1:4] == 30).all()
    assert (grid[4:6, 5:8] == 255).all() and (grid[[0, 3, 6]] == 255).all()
    assert figures.image_grid(images[:2], columns=9, pad=0).shape == (2, 6, 3)


def test_the_overlay_is_warm_where_attention_is_high_and_dim_elsewhere():
    attention = np.zeros((4, 4), np.float32)
    attention[0, 3] = 0.3
    overlay = figures.overlay_attention(plain(120, 16), attention).astype(int)
    assert overlay.shape == (16, 16, 3)
    full = 120 + (np.array(figures.HEAT) - 120) * figures.HEAT_STRENGTH  # the closed form
    np.testing.assert_array_equal(overlay[0, 15], np.rint(full))  # row 0, last column: the hot one
    dim = round(figures.DIMMED * 120)
    assert (overlay[[0, 15, 15], [0, 0, 15]] == dim).all()
    assert overlay[0, 15].sum() > 3 * 120 and overlay[0, 15, 0] > overlay[0, 15, 2]
    assert (figures.overlay_attention(plain(120), np.zeros((2, 2))) == dim).all()


def test_attention_scores_are_the_weight_above_an_even_spread():
    maps = np.array([[[0.25, 0.25]], [[0.9, 0.1]], [[0.0, 0.5]]])
    mean = 2.0 / 6
    np.testing.assert_allclose(figures.attention_scores(maps), [0, 0.9 - mean, 0.5 - mean])
    assert figures.ranked(maps) == [1, 2, 0]


@pytest.mark.parametrize("size, pixelated", [(8, True), (64, False)])
def test_only_small_images_are_enlarged_as_squares(size, pixelated):
    image = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
    squares = image.repeat(4, axis=0).repeat(4, axis=1)
    enlarged = figures.scaled(image, 4 * size, 4 * size)
    assert enlarged.shape == squares.shape and (enlarged == squares).all() == pixelated
    assert figures.scaled(image, at_most=4).shape == (4, 4, 3)
    assert figures.scaled(image, at_least=4) is image


def test_wrapped_lines_fit_and_lose_nothing():
    text = "a small bird with " + "w" * 60 + "  wings"
    lines = figures.wrapped(text, 120)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert len(lines) > 3 and lines[0] == "a small bird with" and figures.wrapped("", 120) == []
    assert all(figures._font().getlength(line) <= 120 for line in lines)


def test_a_figure_is_its_strips_one_below_the_other():
    first = ("a title", [("one", plain(10)), ("two", plain(20))])
    figure = np.asarray(figures.draw_strips([first, ("", [("three", plain(30))])], 128))
    top, left = MARGIN + LINE_HEIGHT, 2 * MARGIN + 128
    assert (figure[top : top + 128, MARGIN : MARGIN + 128] == 10).all()
    assert (figure[top : top + 128, left : left + 128] == 20).all()
    below = top + 128 + LINE_HEIGHT + MARGIN
    assert (figure[below : below + 128, MARGIN : MARGIN + 128] == 30).all()
    assert (figure[below : below + 128, left:] == 255).all()
    assert figure[MARGIN - 4 : top - 4].min() < 80  # the title, and below it a label
    assert figure[top + 128 : below].min() < 80
    assert len(figure) == below + 128 + LINE_HEIGHT + MARGIN


def test_captioned_grid_has_the_images_and_text_below(tmp_path):
    images = np.stack([plain(value, 64) for value in (100, 150, 200)])
    path = tmp_path / "new" / "grid.png"
    figures.captioned_grid(images, ["a red one", "a green one", "blue " * 20], path, columns=2)
    grid, tile = np.asarray(Image.open(path)), figures.CAPTION_TILE
    assert grid.shape[1] == 2 * (tile + MARGIN) + MARGIN
    assert (grid[MARGIN + 50, [MARGIN + 50, 2 * MARGIN + tile + 50], 0] == [100, 150]).all()
    assert grid[MARGIN + tile : MARGIN + tile + 24, MARGIN : MARGIN + tile].min() < 80  # ink
    assert [file.name for file in path.parent.iterdir()] == ["grid.png"]


def test_attention_figure_has_a_row_a_stage_and_a_column_a_word(tmp_path):
    images = {size: plain(120, size) for size in (4, 8, 16)}
    attention = {size: np.zeros((5, size // 2, size // 2), np.float32) for size in (8, 16)}
    for maps in attention.values():
        maps[0, 0, 0], maps[2, -1, -1] = 0.2, 0.9
    path = tmp_path / "attention.png"
    figures.attention_figure(images, attention, ["a", "red", "bird"], path)
    figure = np.asarray(Image.open(path)).astype(int)
    tile, step = figures.WORD_TILE, figures.WORD_TILE + LINE_HEIGHT + MARGIN
    assert figure.shape[:2] == (MARGIN + 2 * step, MARGIN + 4 * (tile + MARGIN))
    for top in (MARGIN, MARGIN + step):
        last = figure[top : top + tile, -MARGIN - tile : -MARGIN]  # "bird", hot at the bottom right
        first = figure[top : top + tile, MARGIN : MARGIN + tile]  # the image alone
        assert last[-1, -1].sum() > 3 * 120 > last[0, 0].sum()
        assert (first == 120).all()


def test_each_stage_has_its_own_five_most_attended_words(finished):
    attention = run_files.read_run(finished).attention
    attention.maps[8][0][0] += np.eye(4, dtype=np.float32) * 5  # "the", at 8 pixels alone
    strips = figures.top_words(attention)
    assert [title for title, _ in strips] == [t for caption in CAPTIONS for t in (caption, "", "")]
    labels = [[label for label, _ in images] for _, images in strips]
    assert labels[0] == [f"{size} x {size}" for size in SIZES]
    assert labels[1][0] == "the 510%" and labels[2] == ["red 40%", "is 30%", "bird 20%", "the 10%"]
    assert len(labels[8]) == 5  # "a tan bird with wings"
    image = figures.scaled(attention.images[16][0], figures.RUN_TILE, figures.RUN_TILE)
    red = figures.overlay_attention(image, attention.maps[16][0][3])
    np.testing.assert_array_equal(strips[2][1][0][1], red)


def test_damsm_has_one_strip_a_caption_and_samples_end_with_the_real_image(finished):
    run = run_files.read_run(finished)
    strips = figures.top_words(run.damsm_attention)
    assert [(title, len(images)) for title, images in strips] == list(zip(CAPTIONS, (5, 4, 6)))
    assert strips[0][1][0][0] == "16 x 16" and strips[0][1][1][0].startswith("red ")
    title, images = figures.time_line(run.samples)[1]
    assert title == CAPTIONS[1]
    assert [label for label, _ in images] == [*(f"step {step}" for step in STEPS), "real"]
    np.testing.assert_array_equal(images[-1][1], run.samples.real_images[1])
    np.testing.assert_array_equal(images[0][1], run.samples.over_time[0][1])


def test_a_report_writes_the_figures_for_which_the_run_has_arrays(finished):
    own = {"attention", "damsm_attention", "time_line"}
    folder = page.write_report(finished).parent / "figures"
    more = {"between_captions", "between_noises", "swapped_word"}
    assert {path.stem for path in folder.iterdir()} == own | more
    for path in (*folder.iterdir(), finished / "report" / "interpolations.npz"):
        path.unlink()
    page.write_report(finished)
    assert {path.stem for path in folder.iterdir()} == own
