"""The page: its numbers, its escaping, that it loads nothing, and what may be missing."""

import base64
import hashlib
import html
import io
import json
import os
import re
from unittest import mock

import numpy as np
import pytest
from PIL import Image
from synthetic_run import CAPTIONS, SIZES, STEPS, WORDS, entry, write_log
from test_metric_rows import WHOLE

from attngan_jax.reporting import embedded_images, figures, metric_rows, page, run_files
from tests.tiny_runs import start_command, start_python


def markup_of(workdir):
    return page.write_report(workdir).read_text(encoding="utf-8")


def text_of(workdir):
    """The visible text of a run's page, in one line."""
    body = re.sub(r"<(style|script)\b.*?</\1>", " ", markup_of(workdir), flags=re.S)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split()).replace(" ,", ",")


@pytest.fixture
def markup(finished):
    return markup_of(finished)


EXPECTED = """73.1 % ± 2.0 | 89.9 % ± 1.2 | 1,000 images | among 50 (1 matching, 49 mismatching) |
folds of 250 | Chance 2.0 % | 65.4 % | On real images: 96.5 % | 3 words | λ and γ₃ 5, 10 |
DAMSM loss |
crown color 77.7 %, chance 10.4 %, real images 97.6 % | beak length 88.8 %, chance 33.3 % |
No Inception weights were given | No <weights> for FID | Dataset 41 s | AttnGAN 7 min 11 s |
Evaluation 8.2 s | 4 → 8 → 16 px | a […] bird red green | Evaluated at step 300 on the test split |
Between two noise vectors, with the same caption a red bird 0% 50% 100%""".replace("\n", " ")


def test_every_number_and_label_is_there(finished):
    text = text_of(finished)
    assert [piece for piece in EXPECTED.split(" | ") if piece not in text] == []


def test_curves_end_at_the_last_values_and_every_kind_of_metric_is_shown(finished):
    (finished / "report" / "metrics.json").write_text(json.dumps(WHOLE))
    values = ((10, 8.0), (20, 4.56), (20, 1.23))
    lines = [entry(step, "damsm", damsm_loss=value) for step, value in values]
    write_log(finished, [*lines, entry(300, "eval", r_precision=61.0)])
    text = text_of(finished)
    assert "DAMSM loss 1.23" in text and "4.56" not in text
    assert "DAMSM steps 20 of 40" in text and "AttnGAN steps 0 of 300" in text
    assert "R precision, at step 300 alone 61 " in text
    assert "Pointing game by part" in text and "crown 50.0 %, chance 2.0 %" in text
    assert "KID (judge)" in text and "95 %: -0.0010 to 0.0200" in text
    assert "Grounding, generator's maps at 32 px" in text and "Checkpoint scores, by step" in text


def test_captions_are_escaped(markup):
    assert "<script>alert(1)" not in markup and "<b>blue" not in markup
    assert html.escape(CAPTIONS[1], quote=False).replace('"', "&#34;") in markup
    assert len(re.findall(r"<script\b", markup)) == 1
    assert 'alt="Generated at step 300: a &lt;script&gt;' in markup
    assert "red bird → &lt;b&gt;blue&lt;/b&gt; bird" in markup


def test_nothing_is_loaded_from_outside(markup):
    targets = re.findall(r'\b(?:src|href|xlink:href|action|poster|srcset)="([^"]*)"', markup)
    links = [target[1:] for target in targets if target.startswith("#")]
    images = [target for target in targets if target.startswith("data:image/webp;base64,")]
    assert images and len(images) + len(links) == len(targets)
    assert len(links) == 7 and all(f'id="{link}"' in markup for link in links)
    assert not re.search(r"https?://|url\(|@import|<link|<iframe", markup)
    script = re.search(r"<script>(.*?)</script>", markup, flags=re.S)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert "default-src 'none'" in markup and f"script-src 'sha256-{digest}'" in markup


def test_every_step_has_its_images_newest_first(markup):
    steps = re.findall(r'alt="Generated at step (\d+): the bird is red"', markup)
    assert steps == [str(step) for step in reversed(STEPS)]
    assert markup.count('class="frame now"') == len(CAPTIONS)
    assert 'data-steps="100,200,300"' in markup
    for stage, size in enumerate(SIZES, start=1):
        assert markup.count(f'alt="Stage {stage}, {size} pixels: ') == len(CAPTIONS)


def test_the_explorer_holds_each_word_and_the_top_five(markup):
    for index, word in enumerate(WORDS[2]):
        assert re.search(rf'<button[^>]*data-word="{index}"[^>]*>{word}</button>', markup)
    stages = len(SIZES) - 1 + 1  # the generator's two and DAMSM's one
    assert markup.count("<li data-word=") == stages * sum(min(len(words), 5) for words in WORDS)
    heat = [float(value) for value in re.search(r'data-heat="([^"]*)"', markup)[1].split(",")]
    assert heat == [*figures.HEAT, figures.HEAT_STRENGTH, figures.DIMMED]


def test_the_maps_in_the_page_are_the_maps(finished):
    attention = run_files.read_run(finished).attention
    view = embedded_images.explorers(attention)[0]
    assert view["words"] == WORDS[0] and not view["cut"] and view["selected"] == 3
    assert view["stages"][0]["maps"] == ""
    stage = view["stages"][2]
    maps = np.frombuffer(base64.b64decode(stage["maps"]), np.uint8).reshape(4, 8, 8)
    original = attention.maps[16][0][:4]
    peaks = original.max((1, 2))
    np.testing.assert_allclose(maps / 255 * peaks[:, None, None], original, atol=2e-3)
    np.testing.assert_allclose(stage["peaks"], peaks, atol=1e-5)
    assert [word for _, word, _, _ in stage["top"]] == ["red", "is", "bird", "the"]


def test_large_maps_are_averaged_down_and_small_images_are_lossless():
    maps = np.random.default_rng(0).random((2, 128, 128)).astype(np.float32)
    small = embedded_images.averaged_down(maps)
    assert small.shape == (2, 32, 32)
    np.testing.assert_allclose(small[1, 3, 5], maps[1, 12:16, 20:24].mean(), rtol=1e-5)
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    encoded = embedded_images.data_uri(image).removeprefix("data:image/webp;base64,")
    decoded = Image.open(io.BytesIO(base64.b64decode(encoded)))
    np.testing.assert_array_equal(np.asarray(decoded), image)


MISSING = {
    "report/metrics.json": "Not evaluated yet",
    "samples/fixed.npz": "No samples yet",
    "report/attention.npz": "No attention maps of the generator yet",
    "report/damsm_attention.npz": "No attention maps of DAMSM yet",
    "report/interpolations.npz": "No interpolations yet",
    "metrics.jsonl": "No log entries yet",
}


@pytest.mark.parametrize("missing", MISSING)
def test_each_part_may_be_missing(finished, missing):
    assert MISSING[missing] not in text_of(finished)
    (finished / missing).unlink()
    assert MISSING[missing] in text_of(finished)


def test_a_run_that_has_just_begun(unfinished):
    assert "Not trained yet." in text_of(unfinished)
    write_log(unfinished, [entry(10, "damsm", damsm_loss=2.5)])
    text = text_of(unfinished)
    assert "DAMSM was at step 10 when" in text and "DAMSM steps 10 of 40" in text
    assert not (unfinished / "report" / "figures").exists()


def test_a_generator_without_attention(finished):
    path = finished / "report" / "attention.npz"
    np.savez(path, **{name: a for name, a in np.load(path).items() if "attention" not in name})
    assert "unless the generator has no attention" in text_of(finished)


def test_a_failed_write_leaves_the_old_page(finished, monkeypatch):
    old = markup_of(finished)
    (finished / "vocabulary.txt").write_text("<end>\n")
    full = mock.Mock(side_effect=OSError(28, "No space left on device"))
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError):
        page.write_report(finished)
    path = finished / "report" / "index.html"
    assert path.read_text(encoding="utf-8") == old
    assert not [name for name in os.listdir(path.parent) if name.startswith(".")]


def test_durations_have_at_most_two_units():
    texts = {3.21: "3.2 s", 41: "41 s", 59.6: "1 min 0 s", 431: "7 min 11 s", 4000: "1 h 7 min"}
    assert {seconds: metric_rows.duration(seconds) for seconds in texts} == texts


def test_the_command(finished, tmp_path_factory):
    done = start_command("report", "--workdir", finished)
    assert (done.returncode, done.stdout.strip()) == (0, str(finished / "report" / "index.html"))
    failed = start_command("report", "--workdir", tmp_path_factory.mktemp("empty"))
    assert failed.returncode == 1 and len(failed.stderr.strip().splitlines()) == 1
    check = "import sys; import attngan_jax.report; sys.exit('jax' in sys.modules)"
    assert start_python("-c", check).returncode == 0
