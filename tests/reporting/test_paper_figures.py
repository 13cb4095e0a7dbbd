"""The PNGs beside the page: which images stand where."""

import numpy as np
from PIL import Image
from synthetic_run import CAPTIONS, SIZES, STEPS

from attngan_jax.reporting import figures, page, paper_figures, run_files
from attngan_jax.reporting.paper_figures import LINE_HEIGHT, MARGIN, TILE


def test_each_stage_has_its_own_five_most_attended_words(finished):
    attention = run_files.read_attention(finished / "report" / "attention.npz")
    attention.maps[8][0][0] += np.eye(4, dtype=np.float32) * 5  # "the", at 8 pixels alone
    strips = paper_figures.top_words(attention)
    assert [title for title, _ in strips] == [
        text for caption in CAPTIONS for text in (caption, "", "")
    ]
    labels = [[label for label, _ in pictures] for _, pictures in strips]
    assert labels[0] == [f"{size} x {size}" for size in SIZES]
    assert labels[1][0] == "the 510%" and labels[2] == ["red 40%", "is 30%", "bird 20%", "the 10%"]
    assert len(labels[8]) == 5  # "a green bird with wings"
    np.testing.assert_array_equal(
        strips[2][1][0][1],
        figures.overlay_attention(
            paper_figures.tile(attention.images[16][0]), attention.maps[16][0][3]
        ),
    )


def test_damsm_has_its_picture_and_words_in_one_strip(finished):
    attention = run_files.read_damsm_attention(finished / "report" / "damsm_attention.npz")
    strips = paper_figures.top_words(attention)
    assert [(title, len(pictures)) for title, pictures in strips] == [
        (CAPTIONS[0], 5),
        (CAPTIONS[1], 4),
        (CAPTIONS[2], 6),
    ]
    assert strips[0][1][0][0] == "16 x 16" and strips[0][1][1][0].startswith("red ")


def test_the_time_line_has_first_and_last_step_and_the_real_picture(finished):
    samples = run_files.read_samples(finished / "samples")
    title, pictures = paper_figures.time_line(samples)[1]
    assert title == CAPTIONS[1]
    assert [label for label, _ in pictures] == [*(f"step {step}" for step in STEPS), "real"]
    np.testing.assert_array_equal(pictures[-1][1], samples.real_images[1])
    np.testing.assert_array_equal(pictures[0][1], samples.over_time[0][1])


def test_a_figure_is_its_strips_one_under_the_other(tmp_path):
    def plain(value):
        return np.full((8, 8, 3), value, np.uint8)

    path = tmp_path / "figures" / "f.png"
    paper_figures.save(
        [("a title", [("one", plain(10)), ("two", plain(20))]), ("", [("three", plain(30))])], path
    )
    figure = np.asarray(Image.open(path))
    top = MARGIN + LINE_HEIGHT
    left = 2 * MARGIN + TILE
    assert (figure[top : top + TILE, MARGIN : MARGIN + TILE] == 10).all()
    assert (figure[top : top + TILE, left : left + TILE] == 20).all()
    below = top + TILE + LINE_HEIGHT + MARGIN
    assert (figure[below : below + TILE, MARGIN : MARGIN + TILE] == 30).all()
    assert (figure[below : below + TILE, left:] == 255).all()
    assert (
        figure[MARGIN - 4 : top - 4].min() < 80 and figure[top + TILE : below].min() < 160
    )  # texts


def test_the_report_writes_those_that_the_run_has_arrays_for(finished):
    names = {
        "attention",
        "damsm_attention",
        "time_line",
        "between_captions",
        "between_noises",
        "swapped_word",
    }
    page.write_report(finished)
    folder = finished / "report" / "figures"
    assert {path.stem for path in folder.iterdir()} == names
    for path in (*folder.iterdir(), finished / "report" / "explorations.npz"):
        path.unlink()
    page.write_report(finished)
    assert {path.stem for path in folder.iterdir()} == {"attention", "damsm_attention", "time_line"}


def test_a_run_that_has_just_begun_gets_no_folder(unfinished):
    page.write_report(unfinished)
    assert not (unfinished / "report" / "figures").exists()
