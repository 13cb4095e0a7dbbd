"""Images of fixed captions with fixed noise, kept while training: `WORKDIR/samples/`."""

import jax
import numpy as np

from attngan_jax import storage
from attngan_jax.data import pipeline
from attngan_jax.data.pipeline import EvenSubset
from attngan_jax.reporting.figures import image_grid
from attngan_jax.sampling.trained_model import TrainedModel, generator_variables
from attngan_jax.storage import save_arrays
from attngan_jax.training.attngan_task import AttnganTask
from attngan_jax.training.state import AttnganState

NUM_SAMPLES = 16


class SampleWriter:
    """Called with (step, state) by the training loop; writes `samples/step_<step>.npz`.

    Returns a grid of each stage's images, uint8 `[H, W, 3]` by name.
    """

    def __init__(self, task: AttnganTask, dataset, encoders: dict, workdir: storage.PathLike):
        self._folder = storage.path(workdir) / "samples"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._encoders = encoders
        size = task.image_sizes[-1]
        batch = next(
            iter(
                pipeline.eval_batches(
                    EvenSubset(dataset.test, NUM_SAMPLES),
                    task.config,
                    vocabulary=dataset.vocabulary,
                    batch_size=NUM_SAMPLES,
                    image_sizes=(size,),
                )
            )
        )
        captions = [" ".join(dataset.vocabulary.decode(row)) for row in batch["caption"]]
        save_arrays(
            self._folder / "fixed.npz",
            captions=np.array(captions),
            real_images=batch[f"image_{size}"],
        )
        self._batch = {
            "caption": batch["caption"],
            "caption_length": batch["caption_length"],
            "number": np.arange(NUM_SAMPLES, dtype=np.int32),
        }
        trained = TrainedModel(task.config, dataset.vocabulary, task, {}, 0)
        self._generate = jax.jit(trained.generate)

    def __call__(self, step: int, state: AttnganState) -> dict[str, np.ndarray]:
        variables = self._encoders | {"generator": generator_variables(state)}
        made = jax.device_get(self._generate(variables, self._batch))
        images = {
            name.replace("image_", "images_"): value
            for name, value in made.items()
            if name.startswith("image_")
        }
        save_arrays(self._folder / f"step_{step:08d}.npz", **images)
        return {
            name.replace("images_", "samples/"): image_grid(value, columns=4)
            for name, value in images.items()
        }
