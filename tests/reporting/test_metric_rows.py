"""The metric table: protocols in words, and published values only beside the same protocol."""

import pytest
from synthetic_run import METRICS

from attngan_jax.reporting import metric_rows, published

PAPER = {
    "mean": 60.0,
    "std": 4.0,
    "candidates": 100,
    "num_images": 30_000,
    "fold_size": 100,
    "mismatch": "image",
    "with_replacement": False,
    "protocol": "paper",
    "chance": 1.0,
    "image_size": 256,
}
POINTING = {
    "mean": 61.5,
    "chance": 4.25,
    "other_words": 11.0,
    "count": 1234,
    "crown": {"accuracy": 50.0, "chance": 2.0, "other_words": 7.0, "count": 99},
}
WHOLE = METRICS | {
    "damsm_retrieval": {
        "step": 1200,
        "num_pairs": 1000,
        "chance_r1": 0.1,
        "image_to_text": {"r1": 30.0, "r5": 60.0, "r10": 75.0, "median_rank": 3},
        "text_to_image": {"r1": 40.0, "r5": 70.0, "r10": 85.0, "median_rank": 2.5},
    },
    "grounding": {
        "damsm": POINTING,
        "generator_32": POINTING | {"mean": 20.0},
        "damsm_by_judge": 43.0,
        "judge_pixel_accuracy": 97.0,
        "judge_part_overlap": 71.0,
    },
    "inception_score": {"mean": 4.361, "std": 0.031, "splits": 10},
    "fid": {
        "value": 23.984,
        "family": "torchvision",
        "num_images": 30_000,
        "reference": "2,933 test images of CUB",
        "resize": "bilinear",
    },
    "fid_damsm": {"value": 1.5, "family": "damsm", "num_images": 1_000, "reference": "tests"},
    "kid_damsm": {
        "value": 0.01234,
        "low": -0.001,
        "high": 0.02,
        "confidence": 95,
        "family": "damsm",
        "num_images": 1_000,
        "reference": "tests",
    },
}


def row(metrics, name):
    return next(row for row in metric_rows.metric_rows(metrics) if row.name.startswith(name))


def test_every_metric_has_its_row_in_order():
    names = [row.name for row in metric_rows.metric_rows(WHOLE)]
    assert names == [
        "R-precision, generated images",
        "R-precision, real images",
        "DAMSM retrieval, R@1",
        "Attribute accuracy",
        "Grounding, DAMSM's maps",
        "Grounding, generator's maps at 32 px",
        "Inception Score",
        "FID (torchvision)",
        "FID (damsm)",
        "KID (damsm)",
    ]


def test_values_and_protocols_in_words():
    retrieval = row(WHOLE, "DAMSM retrieval")
    assert retrieval.value == "35.0\N{NO-BREAK SPACE}%"
    assert "caption to image: R@1 / 5 / 10 40.0 / 70.0 / 85.0" in retrieval.note
    assert "median rank 2.5" in retrieval.note and "step 1,200" in retrieval.protocol
    score = row(WHOLE, "Inception Score")
    assert (score.value, score.spread, score.protocol) == ("4.36", "± 0.03", "10 splits.")
    pointing = row(WHOLE, "Grounding, generator")
    assert pointing.value.startswith("20.0") and "1,234 words" in pointing.protocol
    assert "71.0" in pointing.protocol and "97.0" not in pointing.protocol  # mostly background
    assert "4.2" in pointing.note and "11.0" in pointing.note
    assert "masks" in row(WHOLE, "Grounding, DAMSM").protocol
    fid = row(WHOLE, "FID (torchvision)")
    assert fid.value == "23.98" and "2,933 test images of CUB" in fid.protocol
    kid = row(WHOLE, "KID")
    assert (kid.value, kid.spread) == ("0.0123", "95 %: -0.0010 to 0.0200")
    large = {**WHOLE, "kid_damsm": WHOLE["kid_damsm"] | {"value": 21887.88}}
    assert row(large, "KID").value == "21,888"


@pytest.mark.parametrize("with_replacement, words", [(False, "without"), (True, "with")])
def test_how_mismatching_captions_are_drawn(with_replacement, words):
    protocol = row(
        {**METRICS, "r_precision": PAPER | {"with_replacement": with_replacement}},
        "R-precision, generated",
    ).protocol
    assert f"99 mismatching: of another image, drawn {words} replacement" in protocol


def test_the_pointing_game_by_part_is_that_of_the_last_stage():
    stages = {
        "damsm": POINTING,
        "generator_8": POINTING,
        "generator_32": POINTING
        | {"crown": {"accuracy": 33.0, "chance": 3.0, "other_words": 9.0, "count": 9}},
    }
    (bar,) = metric_rows.grounding_bars({"grounding": stages})
    assert (bar.name, bar.percent, bar.chance, bar.real) == ("crown", 33.0, 3.0, 50.0)
    assert metric_rows.grounding_bars({"grounding": None}) == []
    assert metric_rows.grounding_bars({"grounding": {"damsm": POINTING}}) == []


def test_the_judge_of_the_generated_parts_is_judged_itself():
    protocol = row(WHOLE, "Grounding, generator's maps at 32").protocol
    protocol = protocol.replace("\N{NO-BREAK SPACE}", " ")
    assert (
        "on real ones its parts and the true ones overlap by 71.0 %, intersection over union; "
        "by it DAMSM's maps score 43.0 %, by the true masks 61.5 %"
    ) in protocol
    assert "masks" in row(WHOLE, "Grounding, DAMSM's maps").protocol
    old = WHOLE | {"grounding": {"damsm": POINTING, "generator_32": POINTING}}
    assert "on real ones" not in row(old, "Grounding, generator's maps").protocol


def test_what_is_null_or_missing_says_why():
    metrics = METRICS | {
        "grounding": None,
        "kid": None,
        "damsm_retrieval": None,
        "reasons": {"grounding": "cub has no masks", "kid": "no weights"},
    }
    for name, why in (
        ("Grounding", "Cub has no masks"),
        ("KID", "No weights"),
        ("DAMSM retrieval", "Not measured; no reason was recorded"),
    ):
        assert (row(metrics, name).value, row(metrics, name).note) == (None, why)


def test_the_published_value_stands_beside_the_same_protocol():
    metrics = METRICS | {"dataset": "cub", "r_precision": PAPER}
    assert row(metrics, "R-precision, generated").published.value == "67.82 ± 4.43 %"
    coco = published.compare(metrics | {"dataset": "coco"}, "r_precision")
    assert coco.value == "85.47 ± 3.69 %" and "COCO" in coco.why


@pytest.mark.parametrize(
    "key, value, said",
    [
        ("protocol", "dm_gan", "the protocol: paper there, dm-gan here"),
        ("num_images", 2_000, "images: 30,000 there, 2,000 here"),
        ("candidates", 10, "candidates: 100 there, 10 here"),
        ("image_size", 64, "pixels a side: 256 there, 64 here"),
    ],
)
def test_another_protocol_keeps_the_published_value_away(key, value, said):
    metrics = METRICS | {"dataset": "cub", "r_precision": PAPER | {key: value}}
    compared = published.compare(metrics, "r_precision")
    assert compared.value is None and "67.82" in compared.why and said in compared.why


def test_an_old_file_without_a_protocol_is_not_compared():
    compared = published.compare(METRICS | {"dataset": "cub"}, "r_precision")
    assert compared.value is None and "not recorded here" in compared.why


def test_fid_compares_within_its_family():
    def fid(family, images=30_000, split="test", size=256):
        return published.compare(
            {
                "dataset": "cub",
                "fid": {
                    "family": family,
                    "num_images": images,
                    "reference_split": split,
                    "image_size": size,
                },
            },
            "fid",
        )

    assert (fid("torchvision").value, fid("tf-2015").value) == ("23.98", "14.01")
    assert fid("torchvision", 5_000).value is None
    assert "the paper has no FID" in fid("tf-2015").why
    train, small = fid("tf-2015", split="train"), fid("tf-2015", size=64)
    assert train.value is None and "the reference split: test there, train here" in train.why
    assert small.value is None and "pixels a side: 256 there, 64 here" in small.why


def test_a_checkpoint_that_was_chosen_on_test_pairs_says_so():
    for key, name in (("r_precision", "R-precision, generated"), ("damsm_retrieval", "DAMSM retr")):
        for chosen in ("eval/retrieval_r1", None):
            metrics = WHOLE | {key: WHOLE[key] | {"chosen_by": chosen}}
            assert ("best of several by eval/retrieval_r1" in row(metrics, name).note) == bool(
                chosen
            )


def test_made_up_birds_have_no_published_number():
    for one in metric_rows.metric_rows(WHOLE):
        assert one.published.value is None and one.published.why
    assert "paper measured CUB and COCO" in row(WHOLE, "R-precision, gen").published.why
