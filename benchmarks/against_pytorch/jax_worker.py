"""This package's training step as a case of the comparison; see `worker.py`."""

import collections
import glob
import os
import re
import resource
import tempfile
import time

import jax
import jax.numpy as jnp
import numpy as np

from attngan_jax.configs import cub
from attngan_jax.training import ahead_of_time, parallel
from benchmarks.against_pytorch import worker


def fill(tree, path, rng):
    """Arrays for abstract ones: weights drawn at random, quickly, and an optimizer at its start."""
    names = [str(getattr(key, "key", getattr(key, "name", ""))) for key in path]
    if not jnp.issubdtype(tree.dtype, jnp.floating) or "opt_state" in names:
        return np.zeros(tree.shape, tree.dtype)
    if names[-1] in ("scale", "var"):
        return np.ones(tree.shape, tree.dtype)
    if tree.ndim == 1:
        return np.zeros(tree.shape, tree.dtype)
    gain = np.float32((2 / np.prod(tree.shape[:-1])) ** 0.5)
    return rng.standard_normal(tree.shape, np.float32) * gain


class GanStep:
    """The whole step of stage 2, on one device."""

    def __init__(self, settings: dict):
        jax.config.update("jax_default_matmul_precision", settings.get("precision"))
        config = cub.get_config()
        config.compute_dtype = settings.get("dtype", "float32")
        config.attngan.batch_size = settings["batch"]
        if settings.get("smoke"):
            config.generator.gf_dim = config.discriminator.df_dim = 4
        config.lock()
        self.mesh = parallel.make_mesh(jax.local_devices()[:1])
        step, arguments = ahead_of_time.abstract_step(config, "attngan", self.mesh, 5450)
        self.abstract, self.lowered = arguments, step.lower(*arguments)

    def compile(self) -> dict:
        """Compiles, and puts made-up arrays on the device."""
        begin = time.perf_counter()
        self.step = self.lowered.compile()
        took, memory = time.perf_counter() - begin, self.step.memory_analysis()
        rng = np.random.default_rng(0)
        state, frozen, batch = self.abstract
        state, frozen = jax.tree.map_with_path(lambda path, x: fill(x, path, rng), (state, frozen))
        state = state.replace(ema_params=jax.tree.map(np.copy, state.generator.params))
        self.state, self.frozen = jax.device_put((state, frozen), parallel.replicated(self.mesh))
        B, arrays = batch["class_id"].shape[0], {}
        for name, x in batch.items():
            high = 256 if name.startswith("image") else 5450
            arrays[name] = rng.integers(1, high, x.shape).astype(x.dtype)
        arrays["caption_length"] = np.full(B, batch["caption"].shape[1], np.int32)
        arrays["class_id"] = np.arange(B, dtype=np.int32) % 150
        self.batch = parallel.shard_batch(arrays, self.mesh)
        device = jax.devices()[0]
        return {
            "compile_seconds": took,
            "temporaries": memory.temp_size_in_bytes,
            "arguments": memory.argument_size_in_bytes,
            "versions": {"jax": jax.__version__},
            "device": device.device_kind,
        }

    def run(self, times: int) -> None:
        """Steps, the last of which is waited for, and with it all."""
        for _ in range(times):
            self.state, metrics = self.step(self.state, self.frozen, self.batch)
        jax.block_until_ready((self.state, metrics))
        self.metrics = metrics

    def peak_bytes(self) -> int:
        """Of the device's memory; of the process, on a CPU."""
        statistics = jax.devices()[0].memory_stats() or {}
        own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        return statistics.get("peak_bytes_in_use", own)

    def profile(self) -> list:
        """Kinds of kernels by their share of the device's time, over two steps."""
        with tempfile.TemporaryDirectory() as folder:
            with jax.profiler.trace(folder):
                self.run(2)
            path = glob.glob(os.path.join(folder, "**", "*.xplane.pb"), recursive=True)[0]
            return top_operations(path)


def top_operations(path: str) -> list:
    """`[[share, milliseconds, name], ...]` of the ten longest kinds in a profile's file."""
    times: collections.Counter[str] = collections.Counter()
    data = jax.profiler.ProfileData.from_file(path)
    planes = [p for p in data.planes if p.name.startswith("/device:GPU")]
    for plane in planes or list(data.planes):
        for line in plane.lines:
            if planes and not line.name.startswith("Stream"):
                continue
            for event in line.events:
                name = re.sub(r"[._]?\d+$", "", event.name)[:120]
                times[name] += event.duration_ns
    total = max(1, times.total())
    return [[round(n / total, 4), round(n / 1e6, 2), name] for name, n in times.most_common(10)]


class Precision:
    """What a float32 convolution and product are made in: their errors, by `precision`."""

    def __init__(self, settings: dict):
        del settings

    def compile(self) -> dict:
        """Relative errors beside the float64 result of NumPy."""
        rng = np.random.default_rng(0)
        x, w = (
            rng.standard_normal(s).astype(np.float32) for s in ((4, 32, 32, 64), (1, 1, 64, 64))
        )
        exact = x.astype(np.float64) @ w[0, 0].astype(np.float64)
        errors = {}
        for precision in (None, "tensorfloat32", "float32", "highest"):
            with jax.default_matmul_precision(precision):
                layout = ("NHWC", "HWIO", "NHWC")
                convolved = jax.lax.conv_general_dilated(
                    x, w, (1, 1), "SAME", dimension_numbers=layout
                )
                product = jnp.asarray(x).reshape(-1, 64) @ w[0, 0]
            for kind, y in (("convolution", convolved), ("product", product)):
                difference = np.asarray(y, np.float64).reshape(exact.shape) - exact
                errors[f"{kind}, {precision}"] = float(np.sqrt((difference**2).mean() / 64))
        return {"errors": errors}

    def run(self, times: int) -> None:
        """Nothing."""

    def peak_bytes(self) -> int:
        """Nothing."""
        return 0

    def profile(self) -> list:
        """Nothing."""
        return []


if __name__ == "__main__":
    worker.serve(
        lambda settings: {"step": GanStep, "precision": Precision}[settings["work"]](settings)
    )
