"""Captions as people type them: what is refused, what is warned of, what is kept."""

import logging
import types

import ml_collections
import numpy as np
import pytest
from PIL import Image

from attngan_jax.data.vocabulary import Vocabulary
from attngan_jax.errors import UserError
from attngan_jax.sampling import sample_captions
from attngan_jax.sampling.trained_model import GeneratedImages

VOCABULARY = Vocabulary(["<end>", "a", "red", "bird", "wing"])


def encode(*captions, max_words=5, seed=0, rule="random_subset"):
    data = ml_collections.ConfigDict({"eval_max_words": max_words, "overflow_rule": rule})
    return sample_captions.encode(list(captions), VOCABULARY, data, seed)


def test_known_words_are_numbered_and_padded_unknown_ones_named_and_left_out(caplog):
    rows, lengths = encode("A red, BIRD!", "wing")
    np.testing.assert_array_equal(rows, [[1, 2, 3, 0, 0], [4, 0, 0, 0, 0]])
    assert lengths.tolist() == [3, 1] and lengths.dtype == np.int32
    with caplog.at_level(logging.WARNING):
        rows, lengths = encode("a zebra and a red zebra")
    assert "left out: zebra, and" in caplog.text
    assert rows[0, : lengths[0]].tolist() == [1, 1, 2]


def test_a_typo_gets_a_suggestion(caplog):
    with caplog.at_level(logging.WARNING):
        encode("a red brid and a zebra")
    assert "left out: brid (did you mean bird?), and, zebra (of" in caplog.text
    with pytest.raises(UserError, match=r"this run knows: wngi \(did you mean wing\?\)"):
        encode("wngi")


def test_a_long_caption_keeps_its_order_and_the_seed_chooses(caplog):
    words = "a red bird wing a red bird wing"
    with caplog.at_level(logging.WARNING):
        rows = {tuple(encode(words, max_words=3, seed=seed)[0][0]) for seed in range(20)}
        first, _ = encode(words, max_words=3, rule="first")
    assert "has 8 words; a random 3" in caplog.text and "the first 3 of them" in caplog.text
    assert len(rows) > 1 and all(len(row) == 3 and 0 not in row for row in rows)
    assert first.tolist() == [[1, 2, 3]]


@pytest.mark.parametrize(
    "caption, message",
    [
        ("", "a caption is empty"),
        ("  \t ", "a caption is empty"),
        ("zebra crossing", "has no word that this run knows: it knows 4 words, such as a, red"),
        ("!!!", "has no word that this run knows"),
        ("a red \udcff bird", "is not UTF-8"),
    ],
)
def test_captions_that_cannot_be_encoded(caption, message):
    with pytest.raises(UserError, match=message) as error:
        encode("a bird", caption)
    assert "\n" not in str(error.value)
    str(error.value).encode("utf-8")  # a terminal can print it


@pytest.mark.parametrize("num_captions", [50, 51])
def test_a_grid_of_up_to_a_hundred_images_and_no_more_than_a_batch_in_memory(
    num_captions, tmp_path, monkeypatch
):
    """Each image is written before the next batch is made."""
    config = ml_collections.ConfigDict({"data": {"eval_max_words": 5, "overflow_rule": "first"}})
    config.generator = {"attention": False, "num_stages": 2}
    config.eval = {"batch_size": 8}
    sizes = []

    def jitted_generate(variables, batch, **options):
        done = len(list(tmp_path.glob("caption_*.png")))
        sizes.append((len(batch["number"]), done))
        images = batch["caption"][:, :1, None, None] + batch["number"][:, None, None, None]
        images = np.broadcast_to(images, (len(images), 4, 4, 3)).astype(np.uint8)
        return GeneratedImages({2: images[:, :2, :2], 4: images}, {}, np.zeros((len(images), 3)))

    trained = types.SimpleNamespace(config=config, vocabulary=VOCABULARY, variables={})
    trained.jitted_generate = jitted_generate
    monkeypatch.setattr(sample_captions, "find_model", lambda name: tmp_path)
    monkeypatch.setattr(sample_captions.TrainedModel, "load", lambda *_, **__: trained)
    monkeypatch.setattr(sample_captions, "say_if_unfinished", lambda *_: None)
    captions = ["a bird", "red"] * (num_captions // 2) + ["wing"] * (num_captions % 2)
    options = dict(attention=False, seed=0, num_images=2)
    written = sample_captions.sample("run", captions, tmp_path, **options)
    images = [path for path in written if path.name != "grid.png"]
    assert len(images) == 2 * num_captions and len(sizes) == -(-len(images) // 8)
    assert sizes == [(8, 8 * n) for n in range(len(sizes))]
    assert (tmp_path / "grid.png").exists() == (num_captions == 50) == (written != images)
    for path, value in zip(images, (1, 2, 2, 3)):  # the first word and the image's number
        np.testing.assert_array_equal(Image.open(path), np.full((4, 4, 3), value))


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "holds no caption"),
        (b"\n  \n", "holds no caption"),
        (b"a bird\nred \xff\n", r"is not UTF-8 \(byte 11\)"),
        (None, "cannot be read"),
    ],
)
def test_a_captions_file_is_its_lines(content, message, tmp_path):
    path = tmp_path / "captions.txt"
    path.write_bytes("\ufeffa red bird\r\n\r\n  a w\u00efng \r\n".encode())
    assert sample_captions.read_captions(path) == ["a red bird", "a w\u00efng"]
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        sample_captions.read_captions(path)
