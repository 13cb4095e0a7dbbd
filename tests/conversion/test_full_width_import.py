"""The original's files at CUB's full width, of seeded weights, become a run that draws."""

import pickle

import numpy as np
import pytest
from PIL import Image

from attngan_jax.data.vocabulary import END
from attngan_jax.interop import write_safetensors
from attngan_jax.interop.name_tables import TABLES
from configs import cub
from tests import tiny_runs
from tests.reference_vectors import state_dict

WORDS = 5_450  # with <end>
CAPTIONS = ["word1 word2 word3", "word4 word5", "word6", "word7 word8 word9 word10"]


def write_originals(folder):
    """`netG`, `text_encoder` and `captions.pickle` of CUB's sizes."""
    config = cub.get_config()
    D, g = config.text_encoder.embedding_dim, config.generator
    networks = {
        "netG": (
            "generator",
            {
                key: g[key]
                for key in (
                    "num_stages",
                    "base_size",
                    "gf_dim",
                    "z_dim",
                    "condition_dim",
                    "num_residual_blocks",
                    "attention",
                )
            }
            | {"embedding_dim": D},
        ),
        "text_encoder": (
            "text_encoder",
            {
                "vocabulary_size": WORDS,
                "word_dim": config.text_encoder.word_dim,
                "embedding_dim": D,
                "rnn_type": config.text_encoder.rnn_type,
            },
        ),
    }
    for name, (kind, dimensions) in networks.items():
        rows = [(row.theirs, row.shape) for row in TABLES[kind].rows(dimensions)]
        write_safetensors(folder / f"{name}.safetensors", state_dict(rows))
    words = {i: f"word{i}" if i else END for i in range(WORDS)}
    (folder / "captions.pickle").write_bytes(
        pickle.dumps([[[1, 2]], [[3]], words, {word: i for i, word in words.items()}], 2)
    )


@pytest.mark.slow
def test_it_draws_eight_pictures_of_256_pixels(tmp_path):
    write_originals(tmp_path)
    run, out = tmp_path / "run", tmp_path / "out"
    imported = tiny_runs.start_command(
        "convert",
        "import",
        "--config",
        "configs/cub.py",
        "--workdir",
        run,
        "--generator",
        tmp_path / "netG.safetensors",
        "--captions",
        tmp_path / "captions.pickle",
        "--text_encoder",
        tmp_path / "text_encoder.safetensors",
        "--config.generator.legacy_mask=True",
        f"--config.compilation_cache_dir={tiny_runs.CACHE}",
    )
    assert imported.returncode == 0, imported.stderr[-3000:]
    drawn = tiny_runs.start_command(
        "sample",
        "--workdir",
        run,
        "--out",
        out,
        "--num_images",
        2,
        *(f"--caption={caption}" for caption in CAPTIONS),
    )
    assert drawn.returncode == 0, drawn.stderr[-3000:]
    pictures = [np.asarray(Image.open(path)) for path in sorted(out.glob("caption_*.png"))]
    assert [picture.shape for picture in pictures] == [(256, 256, 3)] * 8
    assert all(picture.std() > 10 for picture in pictures)
    assert len({picture.tobytes() for picture in pictures}) == 8
