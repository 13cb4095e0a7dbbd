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
from attngan_jax.models.convolution import convolve
from attngan_jax.training import ahead_of_time, parallel
from benchmarks.against_pytorch import worker

VOCABULARY = 5450  # CUB's words, with `<end>`


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


class Case:
    """What all of them answer."""

    def __init__(self, settings: dict):
        jax.config.update("jax_default_matmul_precision", settings.get("precision"))
        if "devices" in settings:  # of a CPU
            jax.config.update("jax_num_cpu_devices", settings["devices"])
        config = cub.get_config()
        config.compute_dtype = settings.get("dtype", "float32")
        self.batch_size = settings.get("batch", 0)
        if settings.get("smoke"):
            config.generator.gf_dim = config.discriminator.df_dim = 4
        self.config = config

    def compile(self) -> dict:
        """The first call."""
        begin = time.perf_counter()
        self.run(1)
        return {"compile_seconds": time.perf_counter() - begin, **facts()}

    def run(self, times: int) -> None:
        """Calls, the last of which is waited for."""
        raise NotImplementedError

    def peak_bytes(self) -> int:
        """Of the device's memory; of the process, on a CPU."""
        statistics = jax.devices()[0].memory_stats() or {}
        own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        return statistics.get("peak_bytes_in_use", own)

    def profile(self) -> list:
        """Kinds of kernels by their share of the device's time, in two calls."""
        with tempfile.TemporaryDirectory() as folder:
            with jax.profiler.trace(folder):
                self.run(2)
            path = glob.glob(os.path.join(folder, "**", "*.xplane.pb"), recursive=True)[0]
            return top_operations(path)


def facts() -> dict:
    """Of the software and the device."""
    return {"versions": {"jax": jax.__version__}, "device": jax.devices()[0].device_kind}


class Step(Case):
    """The whole step of a stage, on one device or more."""

    stage = "attngan"

    def __init__(self, settings: dict):
        super().__init__(settings)
        self.config[self.stage].batch_size = self.batch_size
        self.mesh = parallel.make_mesh(jax.local_devices()[: settings.get("devices", 1)])
        arguments = (self.config.lock(), self.stage, self.mesh, VOCABULARY)
        step, self.abstract = ahead_of_time.abstract_step(*arguments)
        self.lowered = step.lower(*self.abstract)

    def compile(self) -> dict:
        """Compiles, and puts made-up arrays on the device."""
        begin = time.perf_counter()
        self.step = self.lowered.compile()
        took, memory = time.perf_counter() - begin, self.step.memory_analysis()
        rng = np.random.default_rng(0)
        state, frozen, batch = self.abstract
        state, frozen = jax.tree.map_with_path(lambda path, x: fill(x, path, rng), (state, frozen))
        if self.stage == "attngan":  # the state is donated: no buffer may be in it twice
            state = state.replace(ema_params=jax.tree.map(np.copy, state.generator.params))
        self.state, self.frozen = jax.device_put((state, frozen), parallel.replicated(self.mesh))
        arrays = {}
        for name, x in batch.items():
            high = 256 if name.startswith("image") else VOCABULARY
            arrays[name] = rng.integers(1, high, x.shape).astype(x.dtype)
        arrays["caption_length"] = np.full(self.batch_size, batch["caption"].shape[1], np.int32)
        arrays["class_id"] = np.arange(self.batch_size, dtype=np.int32) % 150
        self.batch = parallel.shard_batch(arrays, self.mesh)
        sizes = {"temporaries": memory.temp_size_in_bytes}
        sizes["arguments"] = memory.argument_size_in_bytes
        return {"compile_seconds": took, **sizes, **facts()}

    def run(self, times: int) -> None:
        """Steps, the last of which is waited for, and with it all."""
        for _ in range(times):
            self.state, metrics = self.step(self.state, self.frozen, self.batch)
        jax.block_until_ready((self.state, metrics))


class DamsmStep(Step):
    """Of stage 1, with images of 299 pixels."""

    stage = "damsm"


class Calls(Case):
    """A jitted function of arrays that stay."""

    def __init__(self, settings: dict):
        super().__init__(settings)
        self.call = self.make()

    def make(self):
        """A function without arguments."""
        raise NotImplementedError

    def run(self, times: int) -> None:
        """Calls, the last of which is waited for."""
        for _ in range(times):
            result = self.call()
        jax.block_until_ready(result)

    def normal(self, *shape):
        """Normal numbers."""
        return jnp.asarray(np.random.default_rng(0).standard_normal(shape), jnp.float32)


class Drawing(Calls):
    """From the features of captions to images of all stages."""

    def make(self):
        """`benchmarks.sampling`'s."""
        from benchmarks import sampling  # which needs more than a step does

        return sampling.make_sampler(self.batch_size)


class WordLoss(Calls):
    """DAMSM's word loss and its gradient, every image with every caption."""

    def make(self):
        """In blocks of images, as the training has it."""
        from benchmarks import damsm

        arrays = self.normal(self.batch_size, 289, 256), self.normal(self.batch_size, 18, 256)
        gradient = jax.jit(jax.grad(lambda *x: damsm.word_loss(*x, None), argnums=(0, 1)))
        return lambda: gradient(*arrays)


class Arithmetic(Calls):
    """Two products of 2048 x 2048 matrices."""

    def make(self):
        """As in `torch_worker.arithmetic`."""
        a, b = self.normal(2048, 2048), self.normal(2048, 2048)
        product = jax.jit(lambda a, b: (a @ b) @ b)
        return lambda: product(a, b)


class Convolution(Calls):
    """A 3x3 convolution of 8 images of 128 x 128 x 64, 128 channels out."""

    def make(self):
        """As in `torch_worker.convolution`."""
        x, w = self.normal(8, 128, 128, 64), self.normal(3, 3, 64, 128)
        call = jax.jit(lambda x, w: convolve(x, w, jnp.float32))
        return lambda: call(x, w)


class Precision(Case):
    """What a float32 convolution and product are made in: their errors, by `precision`."""

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
                convolved = convolve(jnp.asarray(x), jnp.asarray(w), jnp.float32, 1, "SAME")
                product = jnp.asarray(x).reshape(-1, 64) @ w[0, 0]
            for kind, y in (("convolution", convolved), ("product", product)):
                difference = np.asarray(y, np.float64).reshape(exact.shape) - exact
                errors[f"{kind}, {precision}"] = float(np.sqrt((difference**2).mean() / 64))
        return {"errors": errors, **facts()}


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


WORK = {
    "step": Step,
    "damsm": DamsmStep,
    "drawing": Drawing,
    "word loss": WordLoss,
    "arithmetic": Arithmetic,
    "convolution": Convolution,
    "precision": Precision,
}

if __name__ == "__main__":
    worker.serve(lambda settings: WORK[settings["work"]](settings))
