"""The ablation's table, figure and findings, from made-up runs with known numbers."""

import json
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from PIL import Image
from synthetic_run import write_samples

from attngan_jax.reporting import ablation
from configs import ablation as config
from tests.tiny_runs import ROOT, start_command

SCORES = {"no_damsm": (5.0, 7.0), "lambda_0.1": (10.0, 20.0), "lambda_1": (30.0, 18.0)}
SCORES |= {"lambda_5": (40.0, 50.0), "no_attention": (41.0, 30.0), "three_stages": (60.0, 62.0)}


@pytest.fixture
def folder(tmp_path):
    """Two seeds of six of the variants; dcgan has begun and is not evaluated."""
    for variant, values in SCORES.items():
        for seed, value in enumerate(values):
            write_run(tmp_path / f"seed_{seed}" / variant, seed, value)
    (tmp_path / "seed_0" / "dcgan").mkdir()
    (tmp_path / "seed_0" / "dcgan" / "config.json").write_text('{"seed": 0}')
    return tmp_path


def write_run(workdir, seed, value):
    (workdir / "report").mkdir(parents=True)
    made = config.get_config(workdir.name)
    made.seed = seed
    (workdir / "config.json").write_text(json.dumps(made.to_dict()))
    metrics = {"r_precision": {"mean": value, "candidates": 100}}
    metrics["attribute_accuracy"] = {"mean": value / 2 + 10, "chance": 10.0}
    (workdir / "report" / "metrics.json").write_text(json.dumps(metrics))
    write_samples(workdir, {800: (8,)}, np.random.default_rng(seed))


def table(folder):
    head, lines = ablation.table(ablation.read_runs(folder))
    return {line[0]: dict(zip(head, line)) for line in lines}


def test_every_variant_of_the_config_is_in_the_table_and_in_an_ordering():
    assert ablation.VARIANTS.keys() == config.VARIANTS.keys() - {""}
    chained = {variant for chain in ablation.ORDERINGS.values() for variant in chain}
    assert chained == ablation.VARIANTS.keys()
    chain = ablation.ORDERINGS["R-precision rises with λ"]
    published = [ablation.VARIANTS[variant][2] for variant in chain]
    assert published[0] is None and published[1:] == sorted(published[1:])


def test_the_table_has_means_and_deviations_over_seeds(folder):
    cells = table(folder)
    assert len(cells) == len(ablation.VARIANTS)
    two = cells["two stages, λ 5"]
    assert two["R-precision, %"] == "45.0 ± 7.1"  # (40 + 50) / 2 and 10 / sqrt 2
    assert two["Plumage colours right, %"] == "32.5 ± 3.5"
    assert two["paper, CUB: R-precision, %"] == "58.65" and two["seeds"] == "0, 1"
    assert list(cells["AttnDCGAN, λ 5"].values())[1:4] == ["not run", "–", "–"]
    assert list(cells["two stages, λ 0 (no DAMSM)"].values())[-2:] == ["–", "–"]
    assert list(cells["two stages, λ 5, no attention"].values())[-2:] == ["–", "–"]


def test_a_single_seed_has_no_deviation_and_equal_seeds_have_0(folder):
    (folder / "seed_1" / "lambda_1" / "report" / "metrics.json").unlink()
    write_run(folder / "seed_2" / "lambda_10", 2, 0.0)
    write_run(folder / "seed_3" / "lambda_10", 3, 0.0)
    cells = table(folder)
    assert list(cells["two stages, λ 1"].values())[1:3] == ["0", "30.0"]
    assert list(cells["two stages, λ 10"].values())[1:3] == ["2, 3", "0.0 ± 0.0"]


def test_the_document_has_the_published_values_of_the_code():
    document = (ROOT / "docs" / "ablation.md").read_text(encoding="utf-8")
    for name, score, precision in ablation.VARIANTS.values():
        (line,) = re.findall(rf"^\| {re.escape(name)} \|.*$", document, re.MULTILINE)
        values = [f"{value:.2f}" if value else "–" for value in (precision, score)]
        assert [cell.strip() for cell in line.split("|")[-3:-1]] == values


def test_findings_count_the_seeds_that_agree(folder):
    found = {
        (one["lower"], one["higher"]): (one["difference"], one["seeds_that_agree"], one["holds"])
        for one in ablation.findings(ablation.read_runs(folder))
        if one["metric"] == "R-precision" and one["seeds"] == 2
    }
    assert found["two stages, λ 0.1", "two stages, λ 1"] == (9.0, 1, False)
    assert found["two stages, λ 5", "three stages, λ 5"] == (16.0, 2, True)
    assert found["two stages, λ 5, no attention", "two stages, λ 5"] == (9.5, 1, False)
    assert not [pair for pair in found if any("DCGAN" in name or "λ 10" in name for name in pair)]


def test_the_figure_places_means_between_their_seeds(folder):
    figure = ElementTree.fromstring(ablation.draw_figure(ablation.read_runs(folder)))
    space = "{http://www.w3.org/2000/svg}"
    panel = figure.findall(f"{space}g")[0]
    means = [float(mark.get("x")) + 2 for mark in panel.findall(f"{space}rect")]
    dots = np.array([float(dot.get("cx")) for dot in panel.findall(f"{space}circle")])
    assert len(means) == 6 and len(dots) == 12
    np.testing.assert_allclose(means, dots.reshape(6, 2).mean(1), atol=0.1)
    values = np.ravel([SCORES[variant] for variant in ablation.VARIANTS if variant in SCORES])
    scale = (max(dots) - min(dots)) / (62.0 - 5.0)  # units per percent
    np.testing.assert_allclose(dots - min(dots), (values - min(values)) * scale, atol=0.2)


def test_the_command_writes_the_whole_report(folder, tmp_path_factory):
    done, report = start_command("ablation", "--runs", folder), folder / "report"
    assert (done.returncode, done.stdout.strip()) == (0, str(report / "index.html"))
    page = (report / "index.html").read_text(encoding="utf-8")
    assert "45.0 ± 7.1" in page and "not run" in page and "1 of 2" in page
    assert "GAN steps 800" in page
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    text = (report / "ablation.md").read_text(encoding="utf-8")
    assert "| two stages, λ 5 | 0, 1 | 45.0 ± 7.1 |" in text and "+16.0 | 2 of 2 |" in text
    numbers = json.loads((report / "ablation.json").read_text(encoding="utf-8"))
    expected = {"mean": 45.0, "std": pytest.approx(50**0.5), "seeds": {"0": 40.0, "1": 50.0}}
    assert numbers["variants"]["lambda_5"]["r_precision"] == expected
    assert Image.open(report / "pictures.png").height > 7 * 96  # real images, and six variants'
    failed = start_command("ablation", "--runs", tmp_path_factory.mktemp("empty"))
    assert failed.returncode == 1 and len(failed.stderr.strip().splitlines()) == 1
    assert "holds no finished run" in failed.stderr and "launch/ablation.sh" in failed.stderr
