"""The next batch, put on the devices while they work on the last one."""

import concurrent.futures
import time
from typing import Any

import jax
from jax.sharding import Mesh

from attngan_jax.training import parallel

_POLL_SECONDS = 0.001  # between looks at whether the batch is ready, or the devices are idle


class DeviceBatches:
    """Batches of a data iterator as global arrays, prepared one ahead in a thread.

    Steps are dispatched ahead of the devices, so the time spent in `next` does not measure time
    lost. Lost is the part of it in which the devices had finished all their work: `wait_fraction`.
    """

    def __init__(self, iterator, mesh: Mesh):
        self._iterator, self._mesh = iterator, mesh
        self._thread = concurrent.futures.ThreadPoolExecutor(1, "device_batches")
        self._future: concurrent.futures.Future | None = None
        self._state: Any = iterator.get_state()
        self._waited, self._since = 0.0, time.monotonic()

    def _prepare(self) -> tuple[dict[str, jax.Array], Any]:
        batch = parallel.shard_batch(next(self._iterator), self._mesh)
        return batch, self._iterator.get_state()

    def next(self, after: Any = None) -> dict[str, jax.Array]:
        """The next batch; raises what the iterator raised.

        `after` are arrays of the previous step: the devices are busy until they are ready.
        """
        future = self._future or self._thread.submit(self._prepare)
        idle_since = None
        while not future.done():
            if idle_since is None and all(array.is_ready() for array in jax.tree.leaves(after)):
                idle_since = time.monotonic()
            concurrent.futures.wait([future], _POLL_SECONDS)
        if idle_since is not None:
            self._waited += time.monotonic() - idle_since
        self._future = None
        batch, self._state = future.result()
        self._future = self._thread.submit(self._prepare)
        return batch

    def wait_fraction(self) -> float:
        """The share of the time since the last call that the devices waited for a batch."""
        now = time.monotonic()
        fraction = self._waited / max(now - self._since, 1e-9)
        self._waited, self._since = 0.0, now
        return min(fraction, 1.0)

    def get_state(self) -> Any:
        """The data iterator's state after the last batch that `next` returned."""
        return self._state

    def set_state(self, state: Any) -> None:
        """Continues from a state of `get_state`."""
        if self._future is not None:
            concurrent.futures.wait([self._future])
        self._future, self._state = None, state
        self._iterator.set_state(state)

    def close(self) -> None:
        """Ends the thread and the iterator."""
        self._thread.shutdown()  # after the batch under way
        self._iterator.close()
