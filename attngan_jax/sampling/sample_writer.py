"""Fixed test captions for the report: their images while training, their word maps afterwards."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from attngan_jax.configuration import Config
from attngan_jax.data import pipeline
from attngan_jax.data.datasets import Dataset
from attngan_jax.reporting.figures import image_grid
from attngan_jax.sampling.trained_model import TrainedModel, generator_variables
from attngan_jax.storage import PathLike, save_arrays
from attngan_jax.training.attngan_task import AttnganTask
from attngan_jax.training.state import AttnganState
from attngan_jax.workdir import Workdir

NUM_SAMPLES = 16


def fixed_batch(dataset: Dataset, config: Config, count: int, image_size: int) -> pipeline.Batch:
    """`count` test pairs at even distances as one batch, each with its place as `number`."""
    subset, words = pipeline.EvenSubset(dataset.test, count), dataset.vocabulary
    sizes: dict = dict(batch_size=count, image_sizes=(image_size,))
    (batch,) = pipeline.eval_batches(subset, config, vocabulary=words, **sizes)
    return batch | {"number": np.arange(count, dtype=np.int32)}


class SampleWriter:
    """Called with (step, state); writes `samples/step_<step>.npz` of the same captions and noise.

    Returns a grid of each stage's images, uint8 `[H, W, 3]` by name.
    """

    def __init__(self, task: AttnganTask, dataset: Dataset, encoders: dict, workdir: PathLike):
        self._run, self._encoders, size = Workdir(workdir), encoders, task.image_sizes[-1]
        model = TrainedModel(task.config, dataset.vocabulary, task, {}, 0)
        self._generate = jax.jit(model.generate)
        self._batch = fixed_batch(dataset, task.config, NUM_SAMPLES, size)
        captions = [" ".join(dataset.vocabulary.decode(row)) for row in self._batch["caption"]]
        arrays = {"captions": np.array(captions), "real_images": self._batch[f"image_{size}"]}
        save_arrays(self._run.fixed_samples, **arrays)

    def __call__(self, step: int, state: AttnganState) -> dict[str, np.ndarray]:
        variables = self._encoders | {"generator": generator_variables(state)}
        images = jax.device_get(self._generate(variables, self._batch)).images
        arrays = {f"images_{size}": stage for size, stage in images.items()}
        save_arrays(self._run.samples / f"step_{step:08d}.npz", **arrays)
        return {f"samples/{size}": image_grid(stage, columns=4) for size, stage in images.items()}


def save_attention(trained: TrainedModel, dataset: Dataset, workdir: PathLike) -> None:
    """Writes the word maps of generator and DAMSM, the latter on real images, for the report."""
    run, size = Workdir(workdir), trained.config.image_encoder.image_size
    batch = fixed_batch(dataset, trained.config, NUM_SAMPLES, size)
    generate = jax.jit(functools.partial(trained.generate, with_attention=True))
    made = jax.device_get(generate(trained.variables, batch))
    words = np.where(batch["caption"] > 0, np.array(trained.vocabulary.words)[batch["caption"]], "")
    text = {"words": words, "captions": np.array([" ".join(filter(None, row)) for row in words])}
    if made.attention:
        images = {f"image_{s}": stage for s, stage in made.images.items()}
        maps = {f"attention_{s}": m.transpose(0, 3, 1, 2) for s, m in made.attention.items()}
        save_arrays(run.attention, **text, **images, **maps)

    real = batch[f"image_{size}"]
    regions, _ = trained.encode_images(trained.variables, jnp.asarray(real))
    embeddings, _ = trained.encode_captions(trained.variables, batch)
    attention = np.asarray(trained.region_maps(embeddings, batch, regions))
    save_arrays(run.damsm_attention, **text, image=real, attention=attention)
    logging.info("attention maps written to %s", run.report)
