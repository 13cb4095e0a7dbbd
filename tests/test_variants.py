"""The paper's variants, whole runs at tiny size: each is trained, scored, reported, drawn from."""

import json

import pytest

from tests import tiny_runs


@pytest.mark.parametrize(
    "overrides, has_maps",
    [
        # AttnDCGAN; its last image is larger than what the image encoder was trained at.
        (("generator.single_image=True", "generator.num_stages=3"), True),
        (
            ("generator.attention=False", "attngan.damsm_weight=0.0", "text_encoder.rnn_type=gru"),
            False,
        ),
    ],
)
def test_a_variant_runs_to_its_report(overrides, has_maps, tiny_data_dir, tmp_path):
    run = tmp_path / "run"
    done = tiny_runs.start_main(run, tiny_data_dir, *(f"--config.{o}" for o in overrides))
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads((run / "report" / "metrics.json").read_text())["step"] == 4
    assert (run / "report" / "attention.npz").exists() == has_maps

    drawn = tiny_runs.start_command(
        "sample",
        "--workdir",
        run,
        "--out",
        tmp_path / "out",
        "--attention",
        "--num_images=1",
        "--caption=a red bird",
    )
    if has_maps:
        assert drawn.returncode == 0, drawn.stderr[-3000:]
        assert (tmp_path / "out" / "caption_000_image_0_attention.png").exists()
    else:
        tiny_runs.assert_one_line(drawn, 1, "no word attention")
