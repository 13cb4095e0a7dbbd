"""A model as one StableHLO file, which jax runs without this package: `jax.export`."""

import pathlib

import jax
import jax.numpy as jnp

from attngan_jax import plain_files, storage
from attngan_jax.sampling.trained_model import TrainedModel, quantise
from attngan_jax.training.networks import build_generator, word_mask
from attngan_jax.workdir import Workdir, find_model

PLATFORMS = ("cpu", "cuda", "tpu")


def export_stablehlo(workdir: storage.PathLike, out: storage.PathLike) -> list[storage.Path]:
    """Writes `model.stablehlo`, the words' numbers, and an example that needs nothing else.

    The program takes captions int32 `[B, T]`, their lengths int32 `[B]` and standard normal noise
    float32 `[B, Z + condition_dim]`, for any B, and returns the images of every stage, uint8
    `[B, S, S, 3]`, smallest first. Raises `UserError` if `workdir` is no trained model.
    """
    folder, target = find_model(workdir), Workdir(out)
    trained = TrainedModel.load(folder, networks=("generator", "text"))
    config = trained.config.copy_and_resolve_references().unlock()
    config.platform = "cpu"  # one layout for all platforms
    generator, Z = build_generator(config), config.generator.z_dim

    def generate(caption, caption_length, noise):
        batch = {"caption": caption, "caption_length": caption_length}
        words, sentence = trained.encode_captions(trained.variables, batch)
        inputs = (noise[:, :Z], noise[:, Z:], sentence, words, word_mask(batch))
        output = generator.bind(trained.variables["generator"])(*inputs, train=False)
        return [quantise(image) for image in output.images]

    (B,) = jax.export.symbolic_shape("b")
    shapes = [(B, config.data.eval_max_words), (B,), (B, Z + config.generator.condition_dim)]
    dtypes = (jnp.int32, jnp.int32, jnp.float32)
    inputs = [jax.ShapeDtypeStruct(*of) for of in zip(shapes, dtypes)]
    exported = jax.export.export(jax.jit(generate), platforms=PLATFORMS)(*inputs)
    example = pathlib.Path(__file__).with_name("stablehlo_example.py")
    contents = {
        target.folder / "model.stablehlo": bytes(exported.serialize()),
        target.vocabulary: plain_files.read_bytes(Workdir(folder).vocabulary),
        target.folder / "generate.py": example.read_bytes(),
    }
    for path, content in contents.items():
        storage.write_bytes(path, content)
    return list(contents)
