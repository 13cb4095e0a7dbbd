"""The released code's files at CUB's full width, of seeded weights, become a run that generates."""

import numpy as np
import pytest
from PIL import Image

from attngan_jax.data.vocabulary import END
from attngan_jax.interop import write_safetensors
from attngan_jax.interop.name_tables import TABLES
from configs import cub
from tests import tiny_runs
from tests.made_up_sources import captions_pickle
from tests.reference_vectors import state_dict

NUM_WORDS = 5_450  # with <end>
CAPTIONS = ["word1 word2 word3", "word4 word5", "word6", "word7 word8 word9 word10"]


def write_originals(folder):
    """`netG`, `text_encoder` and `captions.pickle` of CUB's sizes."""
    config = cub.get_config()
    dimensions = {
        "netG": config.generator.to_dict(),
        "text_encoder": config.text_encoder.to_dict() | {"vocabulary_size": NUM_WORDS},
    }
    for name, kind in (("netG", "generator"), ("text_encoder", "text_encoder")):
        dimensions[name]["embedding_dim"] = config.text_encoder.embedding_dim
        rows = [(row.pt, row.shape) for row in TABLES[kind].rows(dimensions[name])]
        write_safetensors(folder / f"{name}.safetensors", state_dict(rows))
    words = [END, *(f"word{i}" for i in range(1, NUM_WORDS))]
    (folder / "captions.pickle").write_bytes(captions_pickle(words, [[1, 2]], [[3]]))


@pytest.mark.slow
def test_it_generates_eight_images_of_256_pixels(tmp_path):
    write_originals(tmp_path)
    run, out = tmp_path / "run", tmp_path / "out"
    flags = [f"--workdir={run}", "--config=configs/cub.py", "--config.generator.legacy_mask=True"]
    flags += [f"--config.compilation_cache_dir={tiny_runs.CACHE}"]
    flags += [f"--generator={tmp_path}/netG.safetensors", f"--captions={tmp_path}/captions.pickle"]
    flags += [f"--text_encoder={tmp_path}/text_encoder.safetensors"]
    imported = tiny_runs.start_command("convert", "import", *flags)
    assert imported.returncode == 0, imported.stderr[-3000:]
    flags = [f"--workdir={run}", f"--out={out}", "--num_images=2"]
    flags += [f"--caption={caption}" for caption in CAPTIONS]
    done = tiny_runs.start_command("sample", *flags)
    assert done.returncode == 0, done.stderr[-3000:]
    images = [np.asarray(Image.open(path)) for path in sorted(out.glob("caption_*.png"))]
    assert [image.shape for image in images] == [(256, 256, 3)] * 8
    assert all(image.std() > 10 for image in images)
    assert len({image.tobytes() for image in images}) == 8
