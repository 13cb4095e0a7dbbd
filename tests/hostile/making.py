"""What the hostile files are made with: damage, and what the project reads each file with."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from attngan_jax import configuration
from attngan_jax.data import coco, dataset_report, image_lists, source_files
from attngan_jax.data.vocabulary import Vocabulary
from attngan_jax.interop import inception_weights, metadata
from attngan_jax.interop.state_dict_files import read_state_dict
from attngan_jax.reporting import run_files
from attngan_jax.sampling import model_folder, sample_captions
from attngan_jax.workdir import has_image_encoder

Input = tuple[str, Callable[[], Any]]


def reading(path: Path, content: bytes, read: Callable) -> Callable[[], Any]:
    """Writes a file when it is called, and has it read."""

    def call():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return read(path)

    return call


def damaged(content: bytes, rounds: int) -> Iterator[tuple[str, bytes]]:
    """The content cut, with bits flipped, with numbers made huge, and with zeros in it."""
    rng = np.random.default_rng(0)
    for _ in range(rounds):
        place, bit = int(rng.integers(len(content))), int(rng.integers(8))
        yield f"cut at {place}", content[:place]
        flipped = bytes([content[place] ^ 1 << bit])
        yield f"bit {bit} of byte {place}", content[:place] + flipped + content[place + 1 :]
        early = place % min(len(content), 120)  # where headers are
        yield f"huge at {early}", content[:early] + b"\xff" * 8 + content[early + 8 :]
        yield f"zeros at {place}", content[:place] + bytes(64) + content[place + 64 :]
    yield "nothing", b""
    yield "zeros", bytes(len(content))


READERS: dict[str, Callable[[Path], Any]] = {
    "w.pth": read_state_dict,
    "w.npz": read_state_dict,
    "w.safetensors": read_state_dict,
    "classifier.safetensors": inception_weights.read_classifier,
    "graph.pb": lambda path: inception_weights.convert_classifier(path, path.with_name("out")),
    "checkpoint": lambda path: inception_weights.convert_classifier(path, path.with_name("out")),
    "captions.pickle": metadata.read_caption_words,
    "filenames.pickle": metadata.read_filenames,
    "class_info.pickle": metadata.read_class_ids,
    "vocabulary.txt": Vocabulary.load,
    "captions.txt": lambda path: list(sample_captions.read_captions(path)),
    "captions.jsonl": lambda path: image_lists.read_lists([path], [], path.parent),
    "list.csv": lambda path: image_lists.read_lists([path], [], path.parent),
    "captions_train2014.json": lambda path: coco.read_entries(path, []),
    "x.jpg": source_files.read_image,
    "x.txt": lambda path: source_files.read_captions(path, []),
    "build.json": lambda path: dataset_report.build_facts(path.parent),
    "config.json": lambda path: configuration.load_workdir_config(path.parent),
    "imported.json": lambda path: has_image_encoder(path.parent),
    "metrics.jsonl": run_files.read_scalars,
    "model.safetensors": lambda path: _read_model(path),
}


def _read_model(path: Path) -> list:
    model_folder.networks_in(path.parent)
    with model_folder._open(path) as file:
        return [file.get_tensor(name) for name in file.keys()]  # noqa: SIM118
