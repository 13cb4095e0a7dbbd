"""R-precision of few images while stage 2 trains, for runs that keep their best checkpoint."""

import numpy as np

from attngan_jax.evaluation import r_precision
from attngan_jax.evaluation.measurements import joined
from attngan_jax.evaluation.rows import RowMap
from attngan_jax.evaluation.samples import Spread
from attngan_jax.evaluation.trained import Trained, generator_variables
from attngan_jax.training.attngan_task import AttnganTask
from attngan_jax.training.state import AttnganState


class GeneratorScore:
    """Called with the state by the loop of stage 2; returns `eval/r_precision`.

    Of `attngan.scored_images` test captions, by the run's protocol but for their number.
    """

    def __init__(self, task: AttnganTask, dataset, encoders: dict):
        self._task, self._dataset, self._encoders = task, dataset, encoders
        self._count = task.settings.scored_images
        self._split = Spread(dataset.test, min(self._count, len(dataset.test)))
        trained = Trained(task.config, dataset.vocabulary, task, {}, 0)

        def function(variables, batch):
            made = trained.synthesise(variables, batch)
            return {name: made[name] for name in ("code", "sentence")} | {
                "class_id": batch["class_id"], "index": batch["index"]}

        self._map = RowMap(function)

    def __call__(self, state: AttnganState) -> dict[str, float]:
        config = self._task.config
        rows = joined(self._map.rows(
            self._encoders | {"generator": generator_variables(state)}, self._split, config,
            vocabulary=self._dataset.vocabulary, image_sizes=self._task.image_sizes[:1],
            num_examples=self._count))
        protocol = r_precision.Protocol.of_config(config.eval)
        hits = r_precision.retrieval_hits(
            *(rows[name] for name in ("code", "sentence", "class_id", "index")),
            num_candidates=protocol.num_candidates, seed=config.seed, mismatch=protocol.mismatch,
            with_replacement=protocol.with_replacement)
        return {"eval/r_precision": float(100 * np.mean(hits))}
