"""A model folder: a trained model in files to hand on, in the layout that model hubs use.

`config.json` and `vocabulary.txt` as in a workdir; `model.safetensors`, the averaged generator and
DAMSM's encoders under the released code's names, each below its file's name there (such as
`netG.h_net1.fc.0.weight`); `README.md`, a card made from the run, and its `samples.png`.

A compact folder has no image encoder, and its large arrays in 8 bits: `NAME` as int8 times
`NAME.scale` as float32, one for each output.
"""

import contextlib
import json
import pathlib
import tempfile
from collections.abc import Iterable, Iterator
from typing import Any

import jax
import numpy as np
import safetensors

from attngan_jax import plain_files, storage
from attngan_jax.configuration import Config
from attngan_jax.errors import UserError
from attngan_jax.interop import state_dict_from_variables
from attngan_jax.interop.state_dict_files import write_safetensors
from attngan_jax.reporting.model_card import write_card
from attngan_jax.training.networks import variables_for
from attngan_jax.workdir import Workdir

FILES = {"generator": "netG", "text": "text_encoder", "image": "image_encoder"}
LARGE, SCALE = 4096, ".scale"  # numbers of an array that a compact folder rounds


def kind(config: Config, network: str) -> str:
    """What `interop` calls a network of this config."""
    dcgan = network == "generator" and config.generator.single_image
    return "generator_dcgan" if dcgan else {"generator": "generator"}.get(network, FILES[network])


def is_one(folder: storage.PathLike) -> bool:
    """Whether a folder holds a saved model and not a run."""
    return Workdir(folder).weights.exists()


def networks_in(folder: storage.PathLike) -> tuple[str, ...]:
    """The networks that a model folder has."""
    with _open(Workdir(folder).weights) as file:
        stems = {name.partition(".")[0] for name in file.keys()}
    return tuple(network for network, stem in FILES.items() if stem in stems)


def write(
    folder: storage.PathLike,
    source: storage.PathLike,
    config: Config,
    variables: dict,
    step: int,
    *,
    compact: bool = False,
) -> None:
    """Writes the networks of `variables` and their files; the card is made of the `source` run."""
    target, origin = Workdir(folder), Workdir(source)
    state_dict: dict[str, np.ndarray] = {}
    for network, values in variables.items():
        arrays = jax.tree.map(np.asarray, values)
        weights = state_dict_from_variables(kind(config, network), arrays)
        state_dict |= {f"{FILES[network]}.{name}": array for name, array in weights.items()}
    if compact:
        state_dict = _in_8_bits(state_dict)
    write_card(origin, target, compact=compact)
    storage.write_text(target.config, json.dumps(config.to_dict(), indent=2) + "\n")
    storage.write_bytes(target.vocabulary, plain_files.read_bytes(origin.vocabulary))
    write_safetensors(target.weights, state_dict, step=step)


def _in_8_bits(state_dict: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    rounded = {}
    for name, array in state_dict.items():
        if array.ndim < 2 or array.size < LARGE:
            rounded[name] = array
            continue
        largest = np.abs(array).max(axis=tuple(range(1, array.ndim)), keepdims=True)
        scale = np.where(largest > 0, largest / 127, 1).astype(np.float32)
        rounded[name] = np.rint(array / scale).astype(np.int8)
        rounded[name + SCALE] = scale
    return rounded


def _tensor(file: Any, name: str, names: Iterable[str], path: storage.Path) -> np.ndarray:
    array = file.get_tensor(name)
    if name + SCALE not in names:
        return array
    scale = file.get_tensor(name + SCALE)
    # Shapes that merely broadcast may need any amount of memory.
    if scale.dtype != np.float32 or scale.shape != array.shape[:1] + (1,) * (array.ndim - 1):
        what = f"{scale.dtype} {list(scale.shape)} for {list(array.shape)}"
        raise UserError(f"{path}: {name}{SCALE} is {what}: copy it again from where it is whole")
    return array * scale


def read(
    folder: storage.PathLike, config: Config, num_words: int, networks: Iterable[str]
) -> tuple[dict[str, Any], int]:
    """The variables of some networks, NumPy arrays, and the generator's step.

    Raises `UserError` for a file that is damaged, lacks a network, or does not fit the config.
    """
    path, variables = Workdir(folder).weights, {}
    with _open(path) as file:
        for network in networks:
            prefix = f"{FILES[network]}."
            names = {name for name in file.keys() if name.startswith(prefix)}
            if not names:
                why = "it can generate images, not score them or train"
                raise UserError(f"{path} has no {FILES[network]}: {why}")
            weights = {
                name.removeprefix(prefix): _tensor(file, name, names, path)
                for name in sorted(names)
                if not name.endswith(SCALE)
            }
            what = kind(config, network)
            variables[network], _ = variables_for(config, num_words, what, weights, path)
        step = (file.metadata() or {}).get("step", "")
    return variables, int(step) if step.isdecimal() and len(step) < 20 else 0


@contextlib.contextmanager
def _open(path: storage.Path) -> Iterator[Any]:
    """The file, mapped into memory; of a bucket, a copy of it."""
    with contextlib.ExitStack() as stack:
        if storage.is_address(path):
            copy = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory())) / path.name
            copy.write_bytes(path.read_bytes())
            path = copy
        try:
            plain_files.check_plain(path)
            yield stack.enter_context(safetensors.safe_open(path, "numpy"))
        except (safetensors.SafetensorError, OSError, TypeError, AttributeError) as error:
            problem = f"{path} cannot be read ({' '.join(str(error).split())})"
            raise UserError(f"{problem}: copy it again from where it is whole") from error
