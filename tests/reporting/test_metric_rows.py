"""The metric table: protocols in words, and published values only beside the same protocol."""

import pytest
from synthetic_run import METRICS, PRECISION

from attngan_jax.evaluation import input_rules
from attngan_jax.reporting import metric_rows, published

SIZE = {"num_images": 30_000, "image_size": 256}
PAPER = PRECISION | SIZE | {"protocol": "paper", "candidates": 100, "mismatch": "image"}
PAPER_FID = SIZE | {"reference_recipe": "test images as they are", "family": "tf-2015"}
DM_GAN_FID = {"family": "torchvision-dmgan"}
CROWN = {"accuracy": 50.0, "chance": 2.0, "other_words": 7.0, "count": 99}
POINTING = {"mean": 61.5, "chance": 4.25, "other_words": 11.0, "count": 1234, "crown": CROWN}
JUDGED = {"damsm_by_judge": 43.0, "judge_pixel_accuracy": 97.0, "judge_part_overlap": 71.0}
REAL = {"num_images": 1_000, "reference": "2,933 test images of CUB", "family": "torchvision"}
OF_TEST = {"num_images": 2_000, "reference_images": 1_000}
SPREAD = {"low": -0.001, "high": 0.02, "confidence": 95}
BANDS = {"1-4": 0.98, "5-8": 1.05, "9-16": 0.25, "17-24": 1.68, "25-31": 2.59}
WHOLE = METRICS | {
    "damsm_retrieval": {
        "step": 1200,
        "num_pairs": 1000,
        "chance_r1": 0.1,
        "image_to_text": {"r1": 30.0, "r5": 60.0, "r10": 75.0, "median_rank": 3},
        "text_to_image": {"r1": 40.0, "r5": 70.0, "r10": 85.0, "median_rank": 2.5},
    },
    "grounding": {"damsm": POINTING, "generator_32": POINTING | {"mean": 20.0}} | JUDGED,
    "inception_score": {"mean": 4.361, "std": 0.031, "splits": 10},
    "fid": REAL | {"value": 23.984, "resize": "bilinear"},
    "fid_damsm": REAL | {"value": 1.5, "family": "damsm"},
    "kid": REAL | SPREAD | {"value": 0.01234},
    "r_precision_independent": PRECISION | {"real_images": 91.23},
    "kid_judge": OF_TEST | SPREAD | {"value": 0.01234, "floor": 0.0004},
    "fid_judge": OF_TEST | {"value": 7.654, "floor": 0.43},
    "spectrum": BANDS,
    "part_presence": {
        "head": {"generated": 80.0, "real": 98.0},
        "eye": {"generated": 20.0, "real": 97.0},
    },
}


def row(metrics, name):
    return next(row for row in metric_rows.metric_rows(metrics) if row.name.startswith(name))


def test_every_metric_has_its_row_in_order():
    assert " | ".join(row.name for row in metric_rows.metric_rows(WHOLE)) == (
        "R-precision, generated images | R-precision, real images | R-precision, independent "
        "| DAMSM retrieval, R@1 | Attribute accuracy | KID (judge) | FID (judge) "
        "| Spectrum, 9-16 cycles | Part presence "
        "| Grounding, DAMSM's maps | Grounding, generator's maps at 32 px "
        "| Inception Score | FID (torchvision) | KID (torchvision)"
    )


def test_values_and_protocols_in_words():
    retrieval = row(WHOLE, "DAMSM retrieval")
    assert retrieval.value == "35.0\N{NO-BREAK SPACE}%"
    assert "caption to image: R@1 / 5 / 10 40.0 / 70.0 / 85.0" in retrieval.note
    assert "median rank 2.5" in retrieval.note and "step 1,200" in retrieval.protocol
    score = row(WHOLE, "Inception Score")
    assert (score.value, score.spread, score.protocol) == ("4.36", "± 0.03", "10 splits.")
    pointing = row(WHOLE, "Grounding, generator")
    assert pointing.value.startswith("20.0") and "1,234 words" in pointing.protocol
    assert "97.0" not in pointing.protocol  # mostly background
    assert "4.3" in pointing.note and "11.0" in pointing.note
    fid = row(WHOLE, "FID (torchvision)")
    assert (fid.value, fid.spread) == ("23.98", "")
    assert fid.protocol == (
        "1,000 images; against 2,933 test images of CUB; weights torchvision; resized by bilinear."
    )
    kid = row(WHOLE, "KID (torchvision)")
    assert (kid.value, kid.spread) == ("0.0123", "95 %: -0.0010 to 0.0200")
    assert row({**WHOLE, "kid": REAL | {"value": 21887.88}}, "KID (t").value == "21,888"
    beak = METRICS["attribute_accuracy"] | {"mean_with_beak": 60.0}
    accuracy = row(METRICS | {"attribute_accuracy": beak}, "Attribute accuracy")
    assert "plumage (with the beak's: 60.0" in accuracy.protocol


def test_what_the_judges_say_stands_beside_real_images():
    own = row(WHOLE, "R-precision, independent")
    assert own.value.startswith("73.1") and "91.2" in own.note and "50 candidates" in own.protocol
    kid, fid = row(WHOLE, "KID (judge)"), row(WHOLE, "FID (judge)")
    assert (kid.value, kid.spread) == ("0.0123", "95 %: -0.0010 to 0.0200")
    assert "real training images have 0.0004" in kid.note and "2,000 images" in kid.protocol
    assert fid.value == "7.65" and "have 0.43" in fid.note
    spectrum = row(WHOLE, "Spectrum")  # a quarter is farther from 1 than 2.59 is
    assert spectrum.value == "0.25" and "25-31: 2.59" in spectrum.protocol
    parts = row(WHOLE, "Part presence")
    assert parts.value.startswith("50.0") and "97.5" in parts.note
    assert "eye 20.0 % (97.0 %)" in parts.protocol.replace("\N{NO-BREAK SPACE}", " ")


def test_how_mismatching_captions_are_drawn():
    for with_replacement, words in ((False, "without"), (True, "with")):
        metrics = METRICS | {"r_precision": PAPER | {"with_replacement": with_replacement}}
        protocol = row(metrics, "R-precision, generated").protocol
        assert f"99 mismatching: of another image, drawn {words} replacement" in protocol


def test_the_pointing_game_by_part_is_that_of_the_last_stage():
    last = POINTING | {"crown": CROWN | {"accuracy": 33.0, "chance": 3.0}}
    stages = {"damsm": POINTING, "generator_8": POINTING, "generator_32": last}
    (bar,) = metric_rows.grounding_bars({"grounding": stages})
    assert (bar.name, bar.percent, bar.chance, bar.real) == ("crown", 33.0, 3.0, 50.0)
    assert metric_rows.grounding_bars({"grounding": None}) == []
    assert metric_rows.grounding_bars({"grounding": {"damsm": POINTING}}) == []


def test_the_accuracy_of_the_segmenter_is_reported():
    protocol = row(WHOLE, "Grounding, generator's maps at 32").protocol
    assert (
        "on real images its parts overlap the true ones by 71.0 %, mean IoU; "
        "DAMSM's maps score 43.0 % by its parts, 61.5 % by true ones"
    ) in protocol.replace("\N{NO-BREAK SPACE}", " ")
    assert "true part masks" in row(WHOLE, "Grounding, DAMSM's maps").protocol
    old = WHOLE | {"grounding": {"damsm": POINTING, "generator_32": POINTING}}
    assert "overlap" not in row(old, "Grounding, generator's maps").protocol


def test_a_metric_that_is_null_says_why():
    reasons = {"grounding": "cub has no masks", "kid": "no weights"}
    nulls = dict.fromkeys(("grounding", "kid", "damsm_retrieval"))
    metrics = METRICS | nulls | {"reasons": reasons}
    unknown = "Not measured; no reason was recorded"
    expected = {"Grounding": "Cub has no masks", "KID": "No weights", "DAMSM retrieval": unknown}
    for name, why in expected.items():
        assert (row(metrics, name).value, row(metrics, name).note) == (None, why)
    assert len(metric_rows.metric_rows({"dataset": "cub"})) == 5  # those of the first files


@pytest.mark.parametrize(
    "key, changed, value, said",
    [
        (
            "r_precision",
            {},
            "67.82 ± 4.43 %",
            "AttnGAN on CUB (paper, as DM-GAN's README gives it)",
        ),
        ("r_precision", {"protocol": "dm_gan"}, "72.31 ± 0.91 %", "DAMSM that AttnGAN's authors"),
        ("r_precision", {"protocol": "own"}, None, "protocol: paper there, own here"),
        ("r_precision", {"protocol": None}, None, "protocol: paper there, not recorded here"),
        ("r_precision", {"num_images": 2_000}, None, "images: 30,000 there, 2,000 here"),
        ("r_precision", {"candidates": 10}, None, "candidates: 100 there, 10 here"),
        ("r_precision", {"image_size": 64}, None, "pixels a side: 256 there, 64 here"),
        ("fid", {}, "14.01", "the paper has no FID"),
        ("fid", DM_GAN_FID, "23.98", "AttnGAN++ 15.01 (measured by TISE's authors"),
        ("fid", DM_GAN_FID | {"reference_recipe": "bird_val.npz"}, "23.98", "DM-GAN 16.09"),
        ("fid", DM_GAN_FID | {"reference_recipe": "bird_val256_FIDK0.npz"}, "12.10", "flipped and"),
        ("fid", {"num_images": 5_000}, None, "images: 30,000 there, 5,000 here"),
        (
            "fid",
            {"reference_recipe": "train images as they are"},
            None,
            "reference recipe: test images as they are there, train images as they are here",
        ),
        ("fid", {"image_size": 64}, None, "pixels a side: 256 there, 64 here"),
    ],
)
def test_a_published_value_stands_only_beside_the_same_protocol(key, changed, value, said):
    entry = {"r_precision": PAPER, "fid": PAPER_FID}[key] | changed
    compared = published.compare({"dataset": "cub", key: entry}, key)
    assert compared.value == value and said in compared.why
    assert value or {"r_precision": "67.82", "fid": "14.01"}[key] in compared.why


@pytest.mark.parametrize("dataset", ["cub", "coco"])
def test_an_fid_stands_beside_its_own_family_alone(dataset):
    """torchvision's own input rule made none of the published numbers, nor did pytorch-fid's."""
    by_family = {}
    for family in input_rules.FID_FAMILIES:
        entry = PAPER_FID | {"family": family}
        by_family[family] = published.compare({"dataset": dataset, "fid": entry}, "fid")
    assert {f for f, compared in by_family.items() if compared.value} == {
        "torchvision-dmgan",
        "tf-2015",
    }
    for family in ("torchvision", "tf-2015-pytorch-fid"):
        assert "none of this family" in by_family[family].why
        assert "torchvision-dmgan, tf-2015" in by_family[family].why


def test_every_published_number_says_who_measured_it_and_reads_as_a_number():
    for group in published.PUBLISHED:
        assert group.dataset in published.NAMES and group.needs
        for model, value, source in group.values:
            assert model and len(source) > 5 and float(value.split()[0]) > 0
    of_cub = [one for one in published.PUBLISHED if (one.metric, one.dataset) == ("fid", "cub")]
    families = [group.needs["family"] for group in of_cub]
    assert len(set(map(str, (group.needs for group in of_cub)))) == len(of_cub)
    assert set(families) <= input_rules.FAMILIES.keys()


@pytest.mark.parametrize("key", ["r_precision", "damsm_retrieval"])
@pytest.mark.parametrize("chosen_by", ["eval/retrieval_r1", None])
def test_a_checkpoint_that_was_chosen_on_test_pairs_says_so(key, chosen_by):
    metrics = WHOLE | {key: WHOLE[key] | {"chosen_by": chosen_by}}
    note = row(metrics, metric_rows.METRICS[key][0]).note
    assert ("best of several by its mean R@1" in note) == bool(chosen_by)


def test_cub_and_coco_have_published_numbers_and_procedural_birds_have_none():
    rows = metric_rows.metric_rows(WHOLE)
    assert all(one.published.value is None and one.published.why for one in rows)
    assert "papers measured CUB and COCO" in row(WHOLE, "R-precision, gen").published.why
    for dataset, value in (("cub", "67.82 ± 4.43 %"), ("coco", "85.47 ± 3.69 %")):
        metrics = METRICS | {"dataset": dataset, "r_precision": PAPER}
        assert row(metrics, "R-precision, generated").published.value == value


def test_digits_are_rounded_as_people_round_them():
    values = {86.55: "86.6", 86.65: "86.7", 0.05: "0.1", 3: "3.0", 99.96: "100.0", -1.25: "-1.3"}
    assert {value: metric_rows.rounded(value) for value in values} == values


def test_real_images_are_called_no_limit_where_generated_ones_score_higher():
    real = METRICS["r_precision_real_images"]
    higher = METRICS | {"r_precision": PRECISION | {"mean": real["mean"] + 1}}
    assert "generated images score higher" in row(higher, "R-precision, real").note
    assert "can hope for" in row(METRICS, "R-precision, real").note
