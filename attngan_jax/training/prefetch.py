"""The next batch, put on the devices while they work on the last one."""

import concurrent.futures
import time
from typing import Any

import jax
from jax.sharding import Mesh

from attngan_jax.training import parallel

_LOOK_EVERY_SECONDS = 0.001  # whether the batch has come, whether the devices have run dry


class DeviceBatches:
    """Batches of a data iterator as global arrays, made one ahead in a thread of its own.

    Steps are dispatched ahead of the devices, so that time spent in `next` is no measure of
    time lost. Lost is the part of it in which the devices had finished what they were given:
    that is what `wait_fraction` counts.
    """

    def __init__(self, iterator, mesh: Mesh):
        """`iterator` has `get_state`, `set_state` and `close`; it is closed with this."""
        self._iterator = iterator
        self._mesh = mesh
        self._thread = concurrent.futures.ThreadPoolExecutor(1, "device_batches")
        self._future: concurrent.futures.Future | None = None
        self._state: Any = iterator.get_state()
        self._waited, self._since = 0.0, time.monotonic()

    def next(self, after: Any = None) -> dict[str, jax.Array]:
        """The next batch; raises what making it raised.

        Args:
          after: arrays of the step before; the devices are busy until they are there.
        """
        self._make_next()
        idle_since = None
        while not self._future.done():
            if idle_since is None and _is_ready(after):
                idle_since = time.monotonic()
            concurrent.futures.wait([self._future], _LOOK_EVERY_SECONDS)
        if idle_since is not None:
            self._waited += time.monotonic() - idle_since
        made, self._future = self._future, None
        batch, self._state = made.result()
        self._make_next()
        return batch

    def wait_fraction(self) -> float:
        """The share of the time since the last call that the devices waited for a batch."""
        now = time.monotonic()
        fraction = self._waited / max(now - self._since, 1e-9)
        self._waited, self._since = 0.0, now
        return min(fraction, 1.0)

    def get_state(self) -> Any:
        """Where the data iterator goes on after the last batch that `next` gave."""
        return self._state

    def set_state(self, state: Any) -> None:
        """Goes on from a state of `get_state`."""
        self._forget()
        self._iterator.set_state(state)
        self._state = state

    def close(self) -> None:
        """Ends the thread and the iterator."""
        self._forget()
        self._thread.shutdown()
        self._iterator.close()

    def _make_next(self) -> None:
        if self._future is None:
            self._future = self._thread.submit(self._make)

    def _make(self) -> tuple[dict[str, jax.Array], Any]:
        batch = parallel.shard_batch(next(self._iterator), self._mesh)
        return batch, self._iterator.get_state()

    def _forget(self) -> None:
        if self._future is not None:
            concurrent.futures.wait([self._future])
            self._future = None


def _is_ready(arrays: Any) -> bool:
    return all(array.is_ready() for array in jax.tree.leaves(arrays))
