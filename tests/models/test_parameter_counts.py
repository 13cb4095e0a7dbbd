"""How many parameters every network of every config has; a config without a record fails."""

import importlib
from pathlib import Path

import jax
import pytest

import configs
from attngan_jax.training.attngan_task import AttnganTask
from attngan_jax.training.damsm_task import DamsmTask

CUB_WORDS = 5_450  # words of the released captions.pickle, with <end>
# The paper has none; at CUB's widths the released code's networks have these, in millions:
# generator 7.08, discriminators 6.31, 19.42, 71.86, image encoder 22.5, text encoder 2.08.
CUB = {
    "generator": 7_084_592,
    "discriminators": [6_313_730, 19_424_002, 71_858_946],
    "image_encoder": 22_506_720,
    "text_encoder": 2_075_320,
}
COUNTS = {
    "default": CUB,
    "cub": CUB,
    "cub_dcgan": CUB | {"generator": 7_082_864, "discriminators": [71_850_753]},
    "coco": CUB
    | {"generator": 13_811_456, "discriminators": [13_304_450, 42_800_258, 160_774_274]},
    "folder": CUB | {"generator": 6_816_592, "discriminators": [6_313_730, 19_424_002]},
    "ablation": {
        "generator": 354_848,
        "discriminators": [581_122, 612_482],
        "image_encoder": 386_400,
        "text_encoder": 1_790_464,
    },
    "procedural_birds": {
        "generator": 396_496,
        "discriminators": [581_122, 612_482, 619_970],
        "image_encoder": 386_400,
        "text_encoder": 1_790_464,
    },
}
NAMES = sorted(
    path.stem for path in Path(configs.__file__).parent.glob("*.py") if path.stem != "__init__"
)


def count(tree) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def counts(name: str) -> dict:
    """Network -> number of parameters, drawn nowhere."""
    config = importlib.import_module(f"configs.{name}").get_config()
    damsm = jax.eval_shape(DamsmTask(config, CUB_WORDS).create_train_state, jax.random.key(0))
    gan = jax.eval_shape(AttnganTask(config, CUB_WORDS).create_train_state, jax.random.key(0))
    return {
        "generator": count(gan.generator.params),
        "discriminators": [count(d.params) for d in gan.discriminators],
        "image_encoder": count(damsm.image.params),
        "text_encoder": count(damsm.text.params),
    }


@pytest.mark.parametrize("name", NAMES)
def test_counts_are_as_recorded(name):
    assert name in COUNTS, f"record what configs/{name}.py has: {counts(name)}"
    assert counts(name) == COUNTS[name]


def test_cub_is_as_large_as_the_original():
    millions = {"generator": 7.08, "image_encoder": 22.5, "text_encoder": 2.08}
    found = counts("cub")
    for network, expected in millions.items():
        digits = len(str(expected).split(".")[1])
        assert round(found[network] / 1e6, digits) == expected
    assert [round(n / 1e6, 2) for n in found["discriminators"]] == [6.31, 19.42, 71.86]
