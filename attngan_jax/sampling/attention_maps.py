"""The word maps that the report shows: the generator's, and DAMSM's on real images."""

import jax
import numpy as np
from absl import logging

from attngan_jax import storage
from attngan_jax.data import pipeline
from attngan_jax.data.pipeline import EvenSubset
from attngan_jax.sampling.trained_model import TrainedModel
from attngan_jax.storage import save_arrays

NUM_SHOWN = 16  # captions whose attention the report shows


def save_attention(trained: TrainedModel, dataset, folder: storage.Path) -> None:
    """Writes `attention.npz` and `damsm_attention.npz`."""
    config = trained.config
    batch = next(
        iter(
            pipeline.eval_batches(
                EvenSubset(dataset.test, NUM_SHOWN),
                config,
                vocabulary=trained.vocabulary,
                batch_size=NUM_SHOWN,
                image_sizes=(config.image_encoder.image_size,),
            )
        )
    )
    batch["number"] = np.arange(NUM_SHOWN, dtype=np.int32)
    inputs = {name: batch[name] for name in ("caption", "caption_length", "number")}
    made = jax.device_get(
        jax.jit(lambda v, b: trained.generate(v, b, with_attention=True))(trained.variables, inputs)
    )
    words = np.where(batch["caption"] > 0, np.array(trained.vocabulary.words)[batch["caption"]], "")
    captions = np.array([" ".join(word for word in row if word) for row in words])
    arrays = {name: value for name, value in made.items() if name.startswith("image_")}
    arrays |= {
        name: value.transpose(0, 3, 1, 2)
        for name, value in made.items()
        if name.startswith("attention_")
    }
    folder.mkdir(parents=True, exist_ok=True)
    if any(name.startswith("attention_") for name in arrays):
        save_arrays(folder / "attention.npz", words=words, captions=captions, **arrays)

    images = batch[f"image_{config.image_encoder.image_size}"]
    regions, _ = trained.encode_images(trained.variables, images)
    embedded, _ = trained.encode_captions(trained.variables, inputs)
    maps = np.asarray(trained.region_maps(embedded, inputs, regions))
    save_arrays(
        folder / "damsm_attention.npz", words=words, captions=captions, image=images, attention=maps
    )
    logging.info("attention maps written to %s", folder)
