"""A trained model, loaded from its folder: embeds captions and images, generates images."""

import dataclasses
import functools
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from absl import logging

from attngan_jax import storage
from attngan_jax.configuration import Config, load_workdir_config
from attngan_jax.data import workdir_vocabulary
from attngan_jax.data.vocabulary import Vocabulary
from attngan_jax.errors import UserError
from attngan_jax.losses.damsm import region_attention
from attngan_jax.models.generator import Generator, GeneratorOutput, stage_sizes
from attngan_jax.sampling import model_folder
from attngan_jax.training import parallel
from attngan_jax.training.attngan_task import AttnganTask
from attngan_jax.training.checkpoints import Checkpoints
from attngan_jax.training.damsm_task import DamsmTask
from attngan_jax.training.networks import normalise, word_mask
from attngan_jax.training.state import AttnganState, abstract_state, stage_key
from attngan_jax.workdir import Workdir, has_image_encoder

ENCODERS = ("text", "image")
NETWORKS = ("generator", *ENCODERS)
CACHED_ELEMENTS = 2**22  # of the widest layer in a CPU's caches: 16 MiB in float32


class GeneratedImages(NamedTuple):
    """What a model makes of B captions; the keys of dictionaries are sides of a stage's image."""

    images: dict[int, Any]  # of every stage, uint8 `[B, S, S, 3]`
    attention: dict[int, Any]  # word maps of every refinement stage, `[B, H, W, T]`
    sentence: Any  # sentence embeddings, `[B, D]`


@dataclasses.dataclass(frozen=True)
class TrainedModel:
    """Text encoder, image encoder and generator of a run or a model folder.

    Methods that take `variables` are pure. A batch holds `caption` int `[B, T]` and
    `caption_length` int `[B]`.
    """

    config: Config
    vocabulary: Vocabulary
    task: AttnganTask
    variables: dict  # of `text`, `image` (the DAMSM encoders) and `generator`
    step: int  # of the generator

    @classmethod
    def load(
        cls, workdir: storage.PathLike, step: int | None = None, networks=NETWORKS
    ) -> "TrainedModel":
        """These networks, of the checkpoints that `restore_stage` chooses or of a model folder.

        Nothing else is read. Raises `UserError` where the folder has none.
        """
        config = load_workdir_config(workdir)
        vocabulary = workdir_vocabulary.load(Workdir(workdir))
        task, variables = AttnganTask(config, len(vocabulary)), {}
        if model_folder.is_one(workdir):
            read, step = model_folder.read(workdir, config, len(vocabulary), networks)
            filled = {n: {k: v for k, v in read[n].items() if v} for n in read}
            variables = jax.device_put(filled, parallel.replicated(parallel.make_mesh()))
            return cls(config, vocabulary, task, variables, step)
        if "generator" in networks:
            _check_has_generator(task, workdir)
        if encoders := [name for name in networks if name in ENCODERS]:
            variables = load_encoders(config, len(vocabulary), workdir, encoders)
        if "generator" in networks:
            variables["generator"], step = _load_generator(task, workdir, step)
        return cls(config, vocabulary, task, variables, step or 0)

    def generate(
        self,
        variables: dict,
        batch: dict,
        *,
        with_attention: bool = False,
        seed: int | jax.Array | None = None,
        truncation: float | None = None,
    ) -> GeneratedImages:
        """Images for captions, from the noise of `seed`; default: the run's own.

        The batch also holds `number` int `[B]`, which seeds each image's noise: the image depends
        neither on the rest of the batch nor on the devices. With `truncation`, z is drawn from the
        normal distribution between -truncation and truncation (BigGAN's trick): images that are
        more alike, and more typical.
        """
        g, sizes = self.config.generator, self.task.image_sizes
        words, sentence = self.encode_captions(variables, batch)
        key = stage_key(self.config.seed if seed is None else seed, "evaluation", 0)
        keys = jax.vmap(functools.partial(jax.random.fold_in, key))(batch["number"])
        shape = (g.z_dim + g.condition_dim,)
        noise = jax.vmap(lambda key: jax.random.normal(key, shape))(keys)
        z = noise[:, : g.z_dim]
        if truncation is not None:  # of one key both are monotonic in the same uniform numbers
            draw = functools.partial(jax.random.truncated_normal, shape=shape)
            z = jax.vmap(lambda key: draw(key, -truncation, truncation))(keys)[:, : g.z_dim]
        inputs = (z, noise[:, g.z_dim :], sentence, words, word_mask(batch))
        output = generate_images(self.task.generator, variables["generator"], *inputs)
        images = {size: quantise(image) for size, image in zip(sizes, output.images)}
        attention = {2 * m.shape[1]: m for m in output.attention} if with_attention else {}
        # AttnDCGAN makes no image before its last stage: its maps all lie over that one.
        images |= {size: images[sizes[-1]] for size in attention if size not in images}
        return GeneratedImages(images, attention, sentence)

    @functools.cached_property
    def jitted_generate(self) -> Callable[..., GeneratedImages]:
        """`generate`, compiled once for each size of a batch; `with_attention` is static."""
        return jax.jit(self.generate, static_argnames="with_attention")

    def encode_images(self, variables: dict, images: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Region features `[B, R, D]` and image embeddings `[B, D]` of uint8 `[B, S, S, 3]`."""
        return self.task.image_encoder.bind(variables["image"])(normalise(images), train=False)

    def encode_captions(self, variables: dict, batch: dict) -> tuple[jax.Array, jax.Array]:
        """Word embeddings `[B, T, D]` and sentence embeddings `[B, D]`."""
        return self.task.text_encoder.bind(variables["text"])(batch["caption"], word_mask(batch))

    def region_maps(self, words: jax.Array, batch: dict, region_features: jax.Array) -> jax.Array:
        """Which regions each word of an image's own caption attends to (Eq. 9): `[B, T, h, w]`."""
        attend = functools.partial(region_attention, gamma1=self.config.damsm.gamma1)
        mask = word_mask(batch)
        maps, _ = jax.vmap(attend)(words[:, None], mask[:, None], region_features[:, None])
        side = round(maps.shape[-1] ** 0.5)
        return maps.reshape(*words.shape[:2], side, side)


def networks_in(folder: storage.PathLike) -> tuple[str, ...]:
    """Which of `NETWORKS` a run or a model folder has: one that was imported may lack `image`."""
    if model_folder.is_one(folder):
        return model_folder.networks_in(folder)
    return NETWORKS if has_image_encoder(folder) else NETWORKS[:2]


def generate_images(
    generator: Generator, variables: dict, *inputs: jax.Array, at_once: int | None = None
) -> GeneratorOutput:
    """`Generator.__call__` of `inputs`, with running statistics, `at_once` examples at a time.

    Default: all of them, but on the CPU as many as have their widest layer in the caches, which is
    faster by a third at CUB's width.
    """
    B = len(inputs[0])
    if at_once is None and jax.default_backend() == "cpu":
        size = stage_sizes(generator.num_stages, generator.base_size)[-1]
        at_once = max(1, CACHED_ELEMENTS // (2 * generator.gf_dim * size * size))
    if at_once is None or generator.legacy_mask:  # which reads the masks of other examples
        at_once = B
    at_once = next(count for count in range(min(at_once, B), 0, -1) if B % count == 0)
    generate = functools.partial(generator.bind(variables), train=False)
    if at_once == B:
        return generate(*inputs)
    parts = [x.reshape(-1, at_once, *x.shape[1:]) for x in inputs]
    output = jax.lax.map(lambda part: generate(*part), parts)
    return jax.tree.map(lambda x: x.reshape(B, *x.shape[2:]), output)


def quantise(images: jax.Array) -> jax.Array:
    """[-1, 1] to uint8, as images are saved and scored."""
    return jnp.clip(jnp.round((images + 1.0) * 127.5), 0, 255).astype(jnp.uint8)


def generator_variables(state: AttnganState) -> dict:
    """For sampling: moving averages of the parameters, running statistics of the live network."""
    return {"params": state.ema_params, "batch_stats": state.generator.batch_stats}


def load_encoders(
    config: Config, vocabulary_size: int, workdir: storage.PathLike, names: Iterable[str] = ENCODERS
) -> dict:
    """Variables of the pretrained `text` and `image` encoder, or of one of them."""
    task = DamsmTask(config, vocabulary_size)
    fresh = {"text": task.init_text, "image": task.init_image}
    return restore_stage(task, workdir, part=lambda key: {name: fresh[name](key) for name in names})


def say_if_unfinished(trained: TrainedModel, folder: storage.PathLike) -> None:
    """Warns of a generator whose training has not come to its last step."""
    files, last = Workdir(folder), trained.config.attngan.num_train_steps
    newest = max([trained.step, *Checkpoints.steps_in(folder, trained.task.name)])
    if newest < last and not files.imported.exists():
        share = f"step {newest:,} of {last:,}, {100 * newest // last} %"
        logging.warning("%s is not trained to its end (%s): its images improve yet", folder, share)


def _check_has_generator(task: AttnganTask, workdir: storage.PathLike) -> None:
    """Raises `UserError`, which says how far the run is, where there is no checkpoint of it."""
    if Checkpoints.steps_in(workdir, task.name):
        return
    how_far = "stage 1, before it, has no checkpoint either"
    if steps := Checkpoints.steps_in(workdir, "damsm"):
        last = task.config.damsm.num_train_steps
        how_far = f"stage 1, before it, is at step {steps[-1]:,} of {last:,}"
    path = Workdir(workdir).stage(task.name)
    hint = "train this stage first, with python -m attngan_jax.main"
    raise UserError(f"{path} holds no checkpoint: {hint} ({how_far})")


def _load_generator(
    task: AttnganTask, workdir: storage.PathLike, step: int | None
) -> tuple[dict, int]:
    """Variables for sampling, as `generator_variables` of a whole state, and their step."""

    def part(key):
        fresh = task.init_generator(key)
        statistics = {"batch_stats": fresh["batch_stats"]}
        return {"step": jnp.int32(0), "generator": statistics, "ema_params": fresh["params"]}

    state = restore_stage(task, workdir, step, part)
    return state["generator"] | {"params": state["ema_params"]}, int(state["step"])


def restore_stage(
    task,
    workdir: storage.PathLike,
    step: int | None = None,
    part: Callable[[jax.Array], dict] | None = None,
) -> Any:
    """A stage's state at `step`, by default the best or newest; `UserError` if there is none.

    `part` makes a fresh one of what is to be read, as nested dicts; default: the whole state.
    """
    sharding = parallel.replicated(parallel.make_mesh())
    create = jax.jit(part or task.create_train_state, out_shardings=sharding)
    abstract = abstract_state(create, task.config)
    with Checkpoints(workdir, task.name, best=task.settings.best_checkpoint) as checkpoints:
        step = step or checkpoints.best_step()
        return checkpoints.restore(abstract, step, partial=part is not None)[0]
