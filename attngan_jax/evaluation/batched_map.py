"""Batches through a function on all devices, and back as rows: streaming, a batch at a time."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from attngan_jax.data import pipeline
from attngan_jax.training import multihost, parallel

Rows = dict[str, Any]  # of arrays, or of dicts of them


class BatchedMap:
    """`function(variables, batch)`, for one device's share of a batch, mapped over pairs.

    The function returns a tree of arrays with the batch's first axis. The batch is as
    `pipeline.eval_batches` makes it, with `number` int32 `[B]`, the pair's place among all. It is
    compiled once, however often the rows are asked for.
    """

    def __init__(self, function: Callable[[Any, dict], dict]):
        self._mesh = parallel.make_mesh()
        self._mapped = parallel.parallel_map(
            lambda variables, batch: {**function(variables, batch), "_valid": batch["valid"]},
            self._mesh,
        )

    def rows(
        self,
        variables: Any,
        split: Sequence,
        config,
        *,
        vocabulary,
        image_sizes: Sequence[int],
        num_examples: int | None = None,
        description: str = "",
    ) -> Iterator[Rows]:
        """The results for a split's (image, caption) pairs, in their fixed order.

        Args:
          split, config, vocabulary, image_sizes, num_examples: as in `pipeline.eval_batches`.
          description: of the first process's progress bar; "" for none.

        Yields:
          A batch's results as NumPy arrays, without the rows that fill the last batch; the same on
          every host.
        """
        size = config.eval.batch_size
        parallel.check_batch_size(size, self._mesh, "config.eval.batch_size")
        process_index, process_count = multihost.index_and_count()
        batches = pipeline.eval_batches(
            split,
            config,
            vocabulary=vocabulary,
            batch_size=size,
            image_sizes=image_sizes,
            num_examples=num_examples,
            process_index=process_index,
            process_count=process_count,
        )
        variables = parallel.replicate(variables, self._mesh)
        waiting = None  # so that the devices work while the batch before is taken in
        for count, batch in enumerate(
            tqdm(
                batches,
                desc=description,
                unit=" batches",
                disable=not (description and multihost.is_first()),
            )
        ):
            share = len(batch["caption"])
            first = count * size + process_index * share
            batch["number"] = np.arange(first, first + share, dtype=np.int32)
            outputs = self._mapped(variables, parallel.shard_batch(batch, self._mesh))
            if waiting is not None:
                yield _valid_rows(waiting)
            waiting = outputs
        if waiting is not None:
            yield _valid_rows(waiting)


def _valid_rows(outputs: dict[str, Any]) -> Rows:
    if multihost.index_and_count()[1] > 1:
        from jax.experimental import multihost_utils

        outputs = multihost_utils.process_allgather(outputs, tiled=True)
    rows = jax.device_get(outputs)
    valid = rows.pop("_valid")
    return jax.tree.map(lambda value: value[valid], rows)
