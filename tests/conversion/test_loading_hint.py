"""What `convert export` says about loading its files in PyTorch, for runs of every shape."""

import importlib
from pathlib import Path

import pytest

from attngan_jax.conversion.export_run import loading_hint, released_classes

ENCODERS = ["RNN_ENCODER(5450, ninput=300, nhidden=256)", "CNN_ENCODER(256)"]


def get_config(name, **changes):
    config = importlib.import_module(f"configs.{name}").get_config()
    config.update_from_flattened_dict(changes)
    return config


def hint(config):
    names = released_classes(config, 5450)
    return loading_hint(config, 5450, [Path("out") / f"{name}.safetensors" for name in names])


@pytest.mark.parametrize(
    "name, calls",
    [
        ("cub", ["G_NET()", "D_NET64()", "D_NET128()", "D_NET256()"]),
        ("coco", ["G_NET()", "D_NET64()", "D_NET128()", "D_NET256()"]),
        ("cub_dcgan", ["G_DCGAN()", "D_NET256(b_jcu=False)"]),
    ],
)
def test_every_network_of_the_papers_configs_has_its_class(name, calls):
    networks = released_classes(get_config(name), 5450)
    assert list(networks.values()) == [(call, "") for call in calls + ENCODERS]


def test_lines_for_cub():
    lines = hint(get_config("cub")).splitlines()
    assert "model.py" in lines[0] and lines[1] == "  from safetensors.torch import load_file"
    assert lines[2] == "  netG = G_NET(); netG.load_state_dict(load_file('out/netG.safetensors'))"
    assert len(lines) == 9 and "network of your own" not in "\n".join(lines)
    assert "TREE.BRANCH_NUM 3, GAN.GF_DIM 32, GAN.DF_DIM 64, GAN.Z_DIM 100" in lines[-1]
    assert "RNN_TYPE LSTM" in lines[-1]


@pytest.mark.parametrize(
    "changes, network, why",
    [
        ({"generator.base_size": 32}, "netG", "64 pixels, not 32"),
        ({"generator.base_size": 32}, "netD0", "none of 32 pixels"),
        ({"generator.num_stages": 4}, "netG", "at most 3 stages"),
        ({"generator.num_stages": 4}, "netD3", "none of 512 pixels"),
        ({"generator.attention": False}, "netG", "always has attention"),
        ({"generator.bilinear_up_to": 128}, "netG", "not bilinearly up to 128"),
        ({"text_encoder.sentence_pooling": "max"}, "text_encoder", "the words' max"),
        ({"image_encoder.trunk": "cnn"}, "image_encoder", "Inception-v3"),
    ],
)
def test_other_shapes_say_why_there_is_no_class(changes, network, why):
    config = get_config("cub", **changes)
    call, reason = released_classes(config, 5450)[network]
    assert call == "" and why in reason
    line = f"  # out/{network}.safetensors needs a network of your own: the released code has no "
    assert f"{line}{network} for it: {reason}" in hint(config).splitlines()
