"""Whole tiny runs of the paper's variants: each is trained, scored, reported and sampled."""

import json

import pytest

from attngan_jax.workdir import Workdir
from tests import tiny_runs


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides, has_maps",
    [
        # AttnDCGAN; its last image is larger than what the image encoder was trained at.
        ("generator.single_image=True generator.num_stages=3", True),
        (
            "discriminator.norm=spectral attngan.adversarial_loss=hinge "
            "attngan.gradient_penalty=1.0 attngan.gradient_penalty_every=2 "
            "attngan.augment_shift=0.1 attngan.augment_cutout=0.3 image_encoder.antialias=True "
            "image_encoder.cnn_depth=1 damsm.view_shift=0.1 damsm.view_blur=1.0 "
            "damsm.view_noise=0.2 generator.bilinear_up_to=16",
            True,
        ),
        (
            "generator.attention=False attngan.damsm_weight=0.0 discriminator.regions=False "
            "text_encoder.rnn_type=gru",
            False,
        ),
    ],
)
def test_a_variant_runs_to_its_report(overrides, has_maps, tiny_data_dir, tmp_path):
    workdir, out = Workdir(tmp_path / "run"), tmp_path / "out"
    flags = [f"--config.{override}" for override in overrides.split()]
    done = tiny_runs.start_main(workdir, tiny_data_dir, *flags)
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(workdir.metrics.read_text())["step"] == 4
    assert workdir.attention.exists() == has_maps

    flags = f"--workdir {workdir} --out {out} --attention --num_images=1 --caption='a red bird'"
    sampled = tiny_runs.start_command(f"sample {flags}")
    if has_maps:
        assert sampled.returncode == 0, sampled.stderr[-3000:]
        assert (out / "caption_000_image_0_attention.png").exists()
    else:
        tiny_runs.assert_one_line(sampled, 1, "no word attention")
