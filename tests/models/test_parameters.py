"""Parameters of every network: how many, for every config, and how they are initialised."""

import importlib
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import traverse_util

import configs
from attngan_jax.training.attngan_task import AttnganTask
from attngan_jax.training.damsm_task import DamsmTask

TASKS = DamsmTask, AttnganTask
CUB_WORDS = 5_450  # words of the released captions.pickle, with <end>
ENCODERS = (22_506_720, 2_075_320)
CUB = (*ENCODERS, 7_084_592, 6_313_730, 19_424_002, 71_858_946)
BIRDS = (386_400, 1_790_464, 396_496, 581_122, 612_482, 619_970, 971_010)
COUNTS = {  # image encoder, text encoder, generator, discriminators of images, of regions
    "default": CUB,
    "cub": CUB,
    "cub_dcgan": (*ENCODERS, 7_082_864, 71_850_753),
    "coco": (*ENCODERS, 13_811_456, 13_304_450, 42_800_258, 160_774_274),
    # The wider generator of AttnGAN++ against discriminators of half the width.
    "cub_plus": (*ENCODERS, 21_365_456, 1_878_242, 5_155_810, 18_264_546),
    "coco_plus": (*ENCODERS, 22_251_728, 1_878_242, 5_155_810, 18_264_546),
    "folder": (*ENCODERS, 6_816_592, 6_313_730, 19_424_002),
    "ablation": (386_400, 1_790_464, 354_848, 581_122, 612_482),
    **dict.fromkeys(("procedural_birds", "procedural_birds_long", "folder_small", "judges"), BIRDS),
    "procedural_birds_256": (4_156_960, 1_790_464, *CUB[2:], 6_703_106),
}
NAMES = sorted(path.stem for path in Path(configs.__file__).parent.glob("[!_]*.py"))


def networks(name, num_words):
    """A function of a key that initialises the networks of a config, in the order of COUNTS."""
    config = importlib.import_module(f"configs.{name}").get_config()

    def init(key):
        damsm, gan = (task(config, num_words).create_train_state(key) for task in TASKS)
        return [n.params for n in (damsm.image, damsm.text, gan.generator, *gan.discriminators)]

    return init


@pytest.mark.parametrize("name", NAMES)
def test_counts_are_as_recorded(name):
    params = jax.eval_shape(networks(name, CUB_WORDS), jax.random.key(0))
    counts = tuple(sum(leaf.size for leaf in jax.tree.leaves(tree)) for tree in params)
    assert name in COUNTS, f"record what configs/{name}.py has: {counts}"
    assert counts == COUNTS[name]


def test_cub_is_as_large_as_the_original():
    """The paper has no numbers; these are the released code's, in millions."""
    assert [round(n / 1e6, 2) for n in CUB] == [22.51, 2.08, 7.08, 6.31, 19.42, 71.86]


@pytest.fixture(scope="module")
def params():
    """Network -> path -> array."""
    arrays = jax.device_get(jax.jit(networks("ablation", 400))(jax.random.key(0)))
    names = ("image_encoder", "text_encoder", "generator", "discriminator_16", "discriminator_32")
    return {name: traverse_util.flatten_dict(tree, sep="/") for name, tree in zip(names, arrays)}


def assert_uniform(array, bound):
    assert np.abs(array).max() <= bound
    np.testing.assert_allclose(array.std(), bound / 3**0.5, rtol=0.05)
    assert abs(array.mean()) < 0.05 * bound


@pytest.mark.parametrize("name", ["generator", "discriminator_32"])
def test_kernels_are_orthogonal(name, params):
    kernels = {path: array for path, array in params[name].items() if path.endswith("kernel")}
    assert len(kernels) > 5
    for path, kernel in kernels.items():
        matrix = kernel.reshape(-1, kernel.shape[-1])
        product = min(matrix @ matrix.T, matrix.T @ matrix, key=np.size)
        np.testing.assert_allclose(product, np.eye(len(product)), atol=1e-5, err_msg=path)


@pytest.mark.parametrize("name", ["generator", "discriminator_32", "image_encoder"])
def test_scales_of_batch_norm_are_near_one(name, params):
    arrays = params[name]
    scales = np.concatenate([array for path, array in arrays.items() if path.endswith("scale")])
    assert len(scales) > 100
    np.testing.assert_allclose(scales.mean(), 1.0, atol=5 * 0.02 / len(scales) ** 0.5)
    np.testing.assert_allclose(scales.std(), 0.02, rtol=0.2)
    assert all(not array.any() for path, array in arrays.items() if path.endswith("norm/bias"))


def test_encoders_are_uniform(params):
    """Embeddings and projections as the released code has them, the recurrence as PyTorch."""
    text, image = params["text_encoder"], params["image_encoder"]
    for array in (text["embedding/embedding"], image["regions/kernel"], image["code/kernel"]):
        assert_uniform(array, 0.1)
    for direction in ("forward", "backward"):
        for weight in ("input_kernel", "recurrent_kernel"):
            assert_uniform(text[f"{direction}/{weight}"], 128**-0.5)
