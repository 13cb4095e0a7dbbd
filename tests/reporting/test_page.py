"""The page: its numbers, its escaping, that it loads nothing, and what may be missing."""

import base64
import hashlib
import html
import io
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from synthetic_run import CAPTIONS, SIZES, STEPS, WORDS, entry, write_log
from test_metric_rows import WHOLE

from attngan_jax.reporting import figures, metric_rows, page, pictures, run_files


def text_of(markup):
    """The visible text, in one line."""
    body = re.sub(r"<(style|script)\b.*?</\1>", " ", markup, flags=re.S)
    text = " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())
    return text.replace(" ,", ",")


@pytest.fixture
def markup(finished):
    return page.write_report(finished).read_text(encoding="utf-8")


def test_every_number_is_there_with_its_protocol(markup):
    text = text_of(markup)
    for piece in (
        "73.1 % ± 2.0",
        "89.9 % ± 1.2",
        "1,000 images",
        "among 50 (1 true, 49",
        "250",
        "Chance 2.0 %",
        "65.4 %",
        "On real images: 96.5 %",
        "crown color 77.7 %, chance 10.4 %, real images 97.6 %",
        "beak length 88.8 %, chance 33.3 %",
        "No Inception weights were given",
        "No <weights> for FID",
        "Evaluated at step 300 on the test split",
        "Dataset 41 s",
        "AttnGAN 7 min 11 s",
        "Evaluation 8.2 s",
        "3 words",
        "4 → 8 → 16 px",
        "λ 5",
        "DAMSM loss",
    ):
        assert piece in text, piece


def test_the_curves_end_at_the_last_values(finished):
    lines = [
        entry(step, "damsm", damsm_loss=value)
        for step, value in ((10, 8.0), (20, 4.56), (20, 1.23))
    ]
    write_log(finished, lines)
    text = text_of(page.write_report(finished).read_text(encoding="utf-8"))
    assert "DAMSM loss 1.23" in text and "4.56" not in text
    assert "DAMSM steps 20 of 40" in text and "AttnGAN steps 0 of 300" in text


def test_every_kind_of_metric_and_its_curves_are_shown(finished):
    (finished / "report" / "metrics.json").write_text(json.dumps(WHOLE))
    write_log(finished, [entry(300, "eval", r_precision=61.0)])
    text = text_of(page.write_report(finished).read_text(encoding="utf-8"))
    for piece in (
        "Pointing game by part",
        "crown 50.0 %, chance 2.0 %",
        "KID (damsm)",
        "95 %: -0.0010 to 0.0200",
        "Grounding, generator's maps at 32 px",
        "Scores of checkpoints, by step",
    ):
        assert piece in text, piece


def test_captions_are_escaped(markup):
    assert "<script>alert(1)" not in markup
    assert html.escape(CAPTIONS[1], quote=False).replace('"', "&#34;") in markup
    assert len(re.findall(r"<script\b", markup)) == 1
    assert 'alt="Generated at step 300: a &lt;script&gt;' in markup


def test_nothing_is_loaded_from_outside(markup):
    targets = re.findall(r'\b(?:src|href|xlink:href|action|poster|srcset)="([^"]*)"', markup)
    assert targets
    assert all(target.startswith(("data:image/webp;base64,", "#")) for target in targets)
    assert not re.search(r"https?://|url\(|@import|<link|<iframe", markup)
    assert "default-src 'none'" in markup


def test_the_policy_allows_this_script_and_no_other(markup):
    script = re.search(r"<script>(.*?)</script>", markup, flags=re.S)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in markup


def test_every_step_has_its_pictures_newest_first(markup):
    steps = re.findall(r'alt="Generated at step (\d+): the bird is red"', markup)
    assert steps == [str(step) for step in reversed(STEPS)]
    assert markup.count('class="frame now"') == len(CAPTIONS)
    assert 'data-steps="100,200,300"' in markup
    for stage, size in enumerate(SIZES, start=1):
        assert markup.count(f'alt="Stage {stage}, {size} pixels"') == len(CAPTIONS)


def test_the_explorer_holds_each_word_and_the_top_five(markup):
    for index, word in enumerate(WORDS[2]):
        assert re.search(rf'<button[^>]*data-word="{index}"[^>]*>{word}</button>', markup)
    words = [len(words) for words in WORDS]
    stages = len(SIZES) - 1 + 1  # the generator's two and DAMSM's one
    assert markup.count("<li data-word=") == stages * sum(min(count, 5) for count in words)


def test_the_maps_in_the_page_are_the_maps(finished):
    attention = run_files.read_attention(finished / "report" / "attention.npz")
    view = pictures.explorers(attention)[0]
    assert view.words == WORDS[0] and not view.cut and view.selected == 3  # the largest peak
    assert view.stages[0].maps == ""
    stage = view.stages[2]
    maps = np.frombuffer(base64.b64decode(stage.maps), np.uint8).reshape(4, 8, 8)
    original = attention.maps[16][0][:4]
    peaks = original.max((1, 2))
    np.testing.assert_allclose(maps / 255 * peaks[:, None, None], original, atol=2e-3)
    np.testing.assert_allclose(stage.peaks, peaks, atol=1e-5)
    assert [top.word for top in stage.top] == ["red", "is", "bird", "the"]


def test_large_maps_are_averaged_down():
    maps = np.random.default_rng(0).random((2, 128, 128)).astype(np.float32)
    small = pictures._averaged_down(maps)
    assert small.shape == (2, 32, 32)
    np.testing.assert_allclose(small[1, 3, 5], maps[1, 12:16, 20:24].mean(), rtol=1e-5)


def test_small_pictures_survive_exactly():
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    encoded = pictures.data_uri(image).removeprefix("data:image/webp;base64,")
    decoded = np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))))
    np.testing.assert_array_equal(decoded, image)


def test_the_page_draws_heat_as_the_figures_do(markup):
    heat = re.search(r'data-heat="([^"]*)"', markup)[1]
    assert [float(value) for value in heat.split(",")] == [
        *figures.HEAT,
        figures.HEAT_STRENGTH,
        figures.DIMMED,
    ]


def test_pictures_in_between_have_their_labels(markup):
    text = text_of(markup)
    assert "From one noise to another, with the same caption a red bird 0% 50% 100%" in text
    assert "a […] bird red green blue" in text
    assert "red bird → &lt;b&gt;blue&lt;/b&gt; bird" in markup and "<b>blue" not in markup


@pytest.mark.parametrize(
    "missing, said",
    [
        ("report/metrics.json", "No evaluation yet"),
        ("samples/fixed.npz", "No samples yet"),
        ("report/attention.npz", "No attention maps of the generator yet"),
        ("report/damsm_attention.npz", "No maps of DAMSM yet"),
        ("report/explorations.npz", "No images between captions yet"),
        ("metrics.jsonl", "No log entries yet"),
    ],
)
def test_each_part_may_be_missing(finished, missing, said):
    assert said not in text_of(page.write_report(finished).read_text(encoding="utf-8"))
    (finished / missing).unlink()
    assert said in text_of(page.write_report(finished).read_text(encoding="utf-8"))


def test_a_run_that_has_just_begun(unfinished):
    write_log(unfinished, [entry(10, "damsm", damsm_loss=2.5)])
    text = text_of(page.write_report(unfinished).read_text(encoding="utf-8"))
    assert "DAMSM was at step 10" in text and "DAMSM steps 10 of 40" in text


def test_a_generator_without_attention(finished):
    path = finished / "report" / "attention.npz"
    arrays = {name: array for name, array in np.load(path).items() if "attention" not in name}
    np.savez(path, **arrays)
    text = text_of(page.write_report(finished).read_text(encoding="utf-8"))
    assert "A generator without attention has none" in text


def test_a_failed_write_leaves_the_old_page(finished, monkeypatch):
    path = page.write_report(finished)
    old = path.read_bytes()
    (finished / "vocabulary.txt").write_text("<end>\n")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError):
        page.write_report(finished)
    assert path.read_bytes() == old
    assert not [name for name in os.listdir(path.parent) if name.startswith(".")]


@pytest.mark.parametrize(
    "seconds, text",
    [(3.21, "3.2 s"), (59.6, "1 min 0 s"), (431, "7 min 11 s"), (4000, "1 h 7 min")],
)
def test_durations(seconds, text):
    assert metric_rows.duration(seconds) == text


def test_the_door(finished, tmp_path_factory):
    command = [sys.executable, "-m", "attngan_jax.report", "--workdir"]
    done = subprocess.run([*command, str(finished)], capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout.strip() == str(finished / "report" / "index.html")
    empty = tmp_path_factory.mktemp("empty")
    failed = subprocess.run([*command, str(empty)], capture_output=True, text=True)
    assert failed.returncode == 1 and len(failed.stderr.strip().splitlines()) == 1
    check = "import sys; import attngan_jax.report; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check]).returncode == 0
