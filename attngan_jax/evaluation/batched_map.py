"""Maps a function over a dataset in batches, on all devices of all hosts."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import jax
import numpy as np
from jax.experimental import multihost_utils

from attngan_jax.bars import Bar
from attngan_jax.configuration import Config
from attngan_jax.data import pipeline
from attngan_jax.data.datasets import Dataset
from attngan_jax.training import multihost, parallel

Split: TypeAlias = Sequence[Mapping[str, Any]] | pipeline.EvenSubset


class BatchedMap:
    """`function(variables, batch)` over (image, caption) pairs, compiled once.

    The function gets a device's share of a batch of `pipeline.eval_batches`, with `number` int32
    `[B]`, the pairs' places, and returns a tree of arrays with the batch's first axis.
    """

    def __init__(self, function: Callable, config: Config, dataset: Dataset, *image_sizes: int):
        self._size, self._mesh = config.eval.batch_size, parallel.make_mesh()
        self._settings: dict[str, Any] = dict(config=config, vocabulary=dataset.vocabulary)
        self._settings |= dict(batch_size=self._size, image_sizes=image_sizes)
        self._mapped = parallel.parallel_map(
            lambda variables, batch: (function(variables, batch), batch["valid"]), self._mesh
        )

    def rows(
        self, variables: Any, split: Split, num_examples: int | None = None, description: str = ""
    ) -> Iterator[Any]:
        """NumPy results by batch of `eval_batches`, the same on every host, without the filling."""
        parallel.check_batch_size(self._size, self._mesh, "config.eval.batch_size")
        index, count = share = multihost.index_and_count()
        settings = self._settings | {"num_examples": num_examples, "share": share}
        batches = pipeline.eval_batches(split, **settings)
        variables = parallel.replicate(variables, self._mesh)
        quiet = not (description and multihost.is_first())
        waiting: list = []  # one batch behind: the devices work on the next one meanwhile
        for n, batch in enumerate(Bar(batches, description, unit=" batches", disable=quiet)):
            places = np.arange(self._size, dtype=np.int32).reshape(count, -1)[index]
            batch["number"] = n * self._size + places
            waiting.append(self._mapped(variables, parallel.shard_batch(batch, self._mesh)))
            if len(waiting) > 1:
                yield _valid_rows(*waiting.pop(0))
        yield from (_valid_rows(*outputs) for outputs in waiting)

    def collect(self, *arguments, **options) -> Any:
        """All of `rows` at once."""
        return concatenate(self.rows(*arguments, **options))


def concatenate(rows: Iterable[Any]) -> Any:
    """Trees of arrays as one tree, joined along the arrays' first axis."""
    return jax.tree.map(lambda *parts: np.concatenate(parts), *rows)


def _valid_rows(outputs: Any, valid: jax.Array) -> Any:
    if multihost.index_and_count()[1] > 1:
        outputs, valid = multihost_utils.process_allgather((outputs, valid), tiled=True)
    rows, valid = jax.device_get((outputs, valid))
    return jax.tree.map(lambda value: value[valid], rows)
