"""A trained run, as loaded from its workdir."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from attngan_jax import storage
from attngan_jax.configuration import Config, load_workdir_config
from attngan_jax.data.vocabulary import Vocabulary
from attngan_jax.losses.damsm import region_attention
from attngan_jax.models.generator import Generator, GeneratorOutput
from attngan_jax.training import parallel
from attngan_jax.training.attngan_task import AttnganTask
from attngan_jax.training.checkpoints import Checkpoints
from attngan_jax.training.damsm_task import DamsmTask
from attngan_jax.training.networks import normalise, word_mask
from attngan_jax.training.state import AttnganState, stage_key


def quantise(images: jax.Array) -> jax.Array:
    """[-1, 1] to uint8: what a saved image holds, and so what is judged."""
    return jnp.clip(jnp.round((images + 1.0) * 127.5), 0, 255).astype(jnp.uint8)


CACHED_ELEMENTS = 2**22  # of the generator's widest layer: 16 MiB in float32


def generate_in_chunks(
    generator: Generator, variables, *inputs: jax.Array, chunk_size: int | None = None
) -> GeneratorOutput:
    """`Generator.__call__` with `train=False`, a few examples at a time; to be jitted.

    Args:
      inputs: z, condition_noise, sentence, words, word_mask.
      chunk_size: examples at a time. Default: all of them, but on the CPU as many as have the
        widest layer in the caches (`CACHED_ELEMENTS`), which is a third faster at CUB's width.
    """
    B, size = len(inputs[0]), generator.base_size * 2 ** (generator.num_stages - 1)
    if chunk_size is None:
        chunk_size = B
        if jax.default_backend() == "cpu":
            chunk_size = max(1, CACHED_ELEMENTS // (2 * generator.gf_dim * size * size))
    if generator.legacy_mask:  # it depends on the other examples of the batch
        chunk_size = B
    chunk_size = next(count for count in range(min(chunk_size, B), 0, -1) if B % count == 0)

    def generate(inputs):
        return generator.apply(variables, *inputs, train=False)

    if chunk_size == B:
        return generate(inputs)
    chunks = jax.tree.map(lambda x: x.reshape(-1, chunk_size, *x.shape[1:]), inputs)
    return jax.tree.map(lambda x: x.reshape(B, *x.shape[2:]), jax.lax.map(generate, chunks))


def generator_variables(state: AttnganState) -> dict:
    """The generator that is shown: averaged parameters, running statistics of the live ones."""
    return {"params": state.ema_params, "batch_stats": state.generator.batch_stats}


def restore_stage(task, workdir: storage.PathLike, step: int | None = None) -> Any:
    """The state of a stage that is used: of `step`, the best by `best_checkpoint`, or the newest.

    Raises `UserError` if there is none.
    """
    abstract = jax.eval_shape(task.create_train_state, jax.random.key(0))
    sharding = parallel.replicated(parallel.make_mesh())
    abstract = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), abstract
    )
    with Checkpoints(workdir, task.name, best=task.settings.best_checkpoint) as checkpoints:
        return checkpoints.restore(abstract, step or checkpoints.best_step())[0]


def load_encoders(config: Config, vocabulary_size: int, workdir: storage.PathLike) -> dict:
    """Variables of the pretrained `text` and `image` encoder."""
    state = restore_stage(DamsmTask(config, vocabulary_size), workdir)
    return {"text": {"params": state.text.params}, "image": state.image.variables}


@dataclasses.dataclass(frozen=True)
class TrainedModel:
    """Everything that turns captions into images.

    Attributes:
      variables: of `text`, `image` (the DAMSM encoders) and `generator`.
      step: of the GAN checkpoint.
    """

    config: Config
    vocabulary: Vocabulary
    task: AttnganTask
    variables: dict
    step: int

    @classmethod
    def load(cls, workdir: storage.PathLike, step: int | None = None) -> "TrainedModel":
        """The checkpoint of `workdir` that `restore_stage` takes; `UserError` if it has none."""
        config = load_workdir_config(workdir)
        vocabulary = Vocabulary.load(storage.path(workdir) / "vocabulary.txt")
        task = AttnganTask(config, len(vocabulary))
        state = restore_stage(task, workdir, step)
        variables = load_encoders(config, len(vocabulary), workdir)
        variables["generator"] = generator_variables(state)
        return cls(config, vocabulary, task, variables, int(state.step))

    def generate(
        self, variables: dict, batch: dict, *, with_attention: bool = False, seed: int | None = None
    ) -> dict:
        """Images for captions; to be jitted or mapped over a mesh.

        Args:
          variables: as `self.variables`.
          batch: `caption` `[B, T]`, `caption_length` `[B]` and `number` `[B]`, which seeds each
            image's noise, whatever the batch it is in.
          seed: of the noise; default: the run's own.

        Returns:
          `image_{S}` uint8 for every stage, `sentence` `[B, D]`, `code` `[B, D]` of the last
          image; with_attention also `attention_{S}` `[B, H, W, T]` of each refinement stage,
          S being the side of the image it makes.
        """
        mask, g = word_mask(batch), self.config.generator
        words, sentence = self.task.text_encoder.apply(variables["text"], batch["caption"], mask)
        key = stage_key(self.config.seed if seed is None else seed, "evaluation", 0)
        drawn = jax.vmap(
            lambda n: jax.random.normal(jax.random.fold_in(key, n), (g.z_dim + g.condition_dim,))
        )(batch["number"])
        made = generate_in_chunks(
            self.task.generator,
            variables["generator"],
            drawn[:, : g.z_dim],
            drawn[:, g.z_dim :],
            sentence,
            words,
            mask,
        )
        sizes = self.task.image_sizes
        result = {f"image_{size}": quantise(image) for size, image in zip(sizes, made.images)}
        _, code = self.encode_images(variables, result[f"image_{sizes[-1]}"])
        result |= {"sentence": sentence, "code": code}
        if with_attention:
            for maps in made.attention:
                size = 2 * maps.shape[1]
                result[f"attention_{size}"] = maps
                # AttnDCGAN makes no image before its last stage: the maps lie over that one.
                result.setdefault(f"image_{size}", result[f"image_{sizes[-1]}"])
        return result

    def encode_images(self, variables: dict, images: jax.Array) -> tuple[jax.Array, jax.Array]:
        """DAMSM's regions `[B, R, D]` and code `[B, D]` of uint8 images `[B, S, S, 3]`."""
        return self.task.image_encoder.apply(variables["image"], normalise(images), train=False)

    def encode_captions(self, variables: dict, batch: dict) -> tuple[jax.Array, jax.Array]:
        """DAMSM's words `[B, T, D]` and sentence `[B, D]`."""
        return self.task.text_encoder.apply(variables["text"], batch["caption"], word_mask(batch))

    def region_maps(self, words: jax.Array, batch: dict, regions: jax.Array) -> jax.Array:
        """Which regions each word of an image's own caption looks at (Eq. 9): `[B, T, h, w]`."""
        gamma1 = self.config.damsm.gamma1
        maps = jax.vmap(
            lambda w, m, r: region_attention(w[None], m[None], r[None], gamma1=gamma1)[0][0, 0]
        )(words, word_mask(batch), regions)
        side = round(maps.shape[-1] ** 0.5)
        return maps.reshape(*maps.shape[:2], side, side)
