"""The ablation's table, figure and findings, from made-up runs with known numbers."""

import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from PIL import Image
from synthetic_run import CAPTIONS, pictures

from attngan_jax.errors import UserError
from attngan_jax.reporting import ablation, ablation_page
from configs import ablation as config
from tests.tiny_runs import ROOT

SCORES = {
    "no_damsm": (5.0, 7.0),
    "lambda_0.1": (10.0, 20.0),
    "lambda_1": (30.0, 18.0),
    "lambda_5": (40.0, 50.0),
    "no_attention": (41.0, 30.0),
    "three_stages": (60.0, 62.0),
}


@pytest.fixture
def runs(tmp_path):
    """Two seeds of six of the variants; dcgan has begun and is not evaluated."""
    for variant, values in SCORES.items():
        for seed, value in enumerate(values):
            write_run(tmp_path / f"seed_{seed}" / variant, seed, value)
    (tmp_path / "seed_0" / "dcgan").mkdir()
    (tmp_path / "seed_0" / "dcgan" / "config.json").write_text('{"seed": 0}')
    return tmp_path


def write_run(workdir, seed, value):
    (workdir / "report").mkdir(parents=True)
    (workdir / "samples").mkdir()
    made = config.get_config(workdir.name)
    made.seed = seed
    (workdir / "config.json").write_text(json.dumps(made.to_dict()))
    (workdir / "report" / "metrics.json").write_text(
        json.dumps(
            {
                "step": 800,
                "r_precision": {"mean": value, "candidates": 100},
                "attribute_accuracy": {"mean": value / 2 + 10, "chance": 10.0},
            }
        )
    )
    rng = np.random.default_rng(seed)
    np.savez(
        workdir / "samples" / "fixed.npz",
        captions=np.array(CAPTIONS),
        real_images=pictures(rng, 16),
    )
    np.savez(workdir / "samples" / "step_00000800.npz", images_8=pictures(rng, 8))


def test_every_variant_of_the_config_has_its_line():
    assert ablation.VARIANTS.keys() == config.VARIANTS.keys() - {""}
    chained = {name for ordering in ablation.ORDERINGS for name in ordering.chain}
    assert chained == ablation.VARIANTS.keys()


def test_the_table_has_means_and_deviations_over_seeds(runs):
    head, lines = ablation.table(ablation.read_rows(runs))
    cells = {line[0]: dict(zip(head, line)) for line in lines}
    assert len(cells) == len(ablation.VARIANTS)
    two = cells["two stages, λ 5"]
    assert two["R-precision, %"] == "45.0 ± 7.1"  # (40 + 50) / 2 and 10 / sqrt 2
    assert two["Plumage colours right, %"] == "32.5 ± 3.5"
    assert two["paper, CUB: R-precision, %"] == "58.65" and two["seeds"] == "0, 1"
    assert cells["AttnDCGAN, λ 5"]["seeds"] == "not run"
    assert cells["AttnDCGAN, λ 5"]["R-precision, %"] == "–"


def test_the_document_has_the_published_values_of_the_code():
    document = (ROOT / "docs" / "ablation.md").read_text(encoding="utf-8")
    for name, score, precision in ablation.VARIANTS.values():
        (line,) = re.findall(rf"^\| {re.escape(name)} \|.*$", document, re.MULTILINE)
        assert [cell.strip() for cell in line.split("|")[-3:-1]] == [
            f"{value:.2f}" if value else "–" for value in (precision, score)
        ]


def test_no_damsm_is_the_published_row_below_lambda_and_no_attention_has_none(runs):
    head, lines = ablation.table(ablation.read_rows(runs))
    published = {line[0]: line[-2:] for line in lines}
    assert published["two stages, λ 0 (no DAMSM)"] == ["10.37", "3.98"]
    assert published["two stages, λ 5, no attention"] == ["–", "–"]
    chain = next(one.chain for one in ablation.ORDERINGS if "rises with λ" in one.claim)
    values = [ablation.VARIANTS[name][2] for name in chain]
    assert values == sorted(values)


def test_one_seed_has_no_deviation(runs):
    (runs / "seed_1" / "lambda_1" / "report" / "metrics.json").unlink()
    head, lines = ablation.table(ablation.read_rows(runs))
    assert [line[1:3] for line in lines if line[0].endswith("λ 1")] == [["0", "30.0"]]


def test_findings_count_the_seeds_that_agree(runs):
    found = {
        (one.lower, one.higher): one
        for one in ablation.findings(ablation.read_rows(runs))
        if one.metric == "R-precision"
    }
    rise = found["two stages, λ 0.1", "two stages, λ 1"]
    assert (rise.difference, rise.seeds, rise.seeds_that_agree, rise.holds) == (9.0, 2, 1, False)
    stages = found["two stages, λ 5", "three stages, λ 5"]
    assert (stages.difference, stages.seeds_that_agree, stages.holds) == (16.0, 2, True)
    attention = found["two stages, λ 5, no attention", "two stages, λ 5"]
    assert (attention.difference, attention.seeds_that_agree) == (9.5, 1)
    assert not [pair for pair in found if any("DCGAN" in name or "λ 10" in name for name in pair)]


def test_the_report_is_whole(runs):
    page = ablation_page.write_report(runs).read_text(encoding="utf-8")
    assert "45.0 ± 7.1" in page and "not run" in page and "1 of 2" in page
    assert "GAN steps 800" in page
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    table = (runs / "report" / "ablation.md").read_text(encoding="utf-8")
    assert "| two stages, λ 5 | 0, 1 | 45.0 ± 7.1 |" in table and "+16.0 | 2 of 2 |" in table
    numbers = json.loads((runs / "report" / "ablation.json").read_text(encoding="utf-8"))
    assert numbers["variants"]["lambda_5"]["r_precision"] == {
        "mean": 45.0,
        "std": pytest.approx(50**0.5),
        "seeds": {"0": 40.0, "1": 50.0},
    }
    # Real images and those of six variants.
    assert Image.open(runs / "report" / "pictures.png").height > 7 * 96


def test_the_figure_places_means_between_their_seeds(runs):
    rows = ablation.read_rows(runs)
    figure = ElementTree.fromstring(ablation_page.draw_figure(rows))
    space = "{http://www.w3.org/2000/svg}"
    panel = figure.findall(f"{space}g")[0]
    means = [float(mark.get("x")) + 2 for mark in panel.findall(f"{space}rect")]
    dots = [float(dot.get("cx")) for dot in panel.findall(f"{space}circle")]
    assert len(means) == 6 and len(dots) == 12
    pairs = list(zip(dots[::2], dots[1::2]))
    np.testing.assert_allclose(means, [sum(pair) / 2 for pair in pairs], atol=0.1)
    scale = (max(dots) - min(dots)) / (62.0 - 5.0)  # units per percent
    values = [value for pair in SCORES.values() for value in pair]
    by_row = [pair for name in ablation.VARIANTS if name in SCORES for pair in SCORES[name]]
    np.testing.assert_allclose(
        np.array(dots) - min(dots), (np.array(by_row) - min(values)) * scale, atol=0.2
    )


def test_the_door(runs, tmp_path_factory):
    command = [sys.executable, "-m", "attngan_jax.ablation", "--runs"]
    done = subprocess.run([*command, str(runs)], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, str(runs / "report" / "index.html"))
    empty = tmp_path_factory.mktemp("empty")
    failed = subprocess.run([*command, str(empty)], capture_output=True, text=True)
    assert failed.returncode == 1 and len(failed.stderr.strip().splitlines()) == 1
    assert "launch/ablation.sh" in failed.stderr
    with pytest.raises(UserError):
        ablation.read_rows(empty)
