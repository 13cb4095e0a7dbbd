"""Records to batches, with Grain.

Everything random follows from the seed and an example's place in the endless training order, so
batches don't depend on the number of worker processes, and hosts only share the work out: the
shares of one global batch, concatenated, are the batch that a single host would read.
"""

import contextlib
import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import grain
import numpy as np
from PIL import Image
from PIL.Image import Resampling

from attngan_jax.configuration import Config
from attngan_jax.data import transforms
from attngan_jax.data.swapped_words import WordSwapper
from attngan_jax.data.vocabulary import Vocabulary, tokenise

Batch = dict[str, np.ndarray]
Record = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class EvenSubset:
    """`count` evenly spaced records of a split, so that they are not all of one class."""

    split: Sequence[Record]
    count: int

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, n: int) -> Record:
        return self.split[n * len(self.split) // self.count]


def train_iterator(
    dataset,
    config: Config,
    *,
    batch_size: int,
    image_sizes: Sequence[int],
    max_words: int,
    seed: int,
    few_swapped_colors: bool = False,
    share: tuple[int, int] = (0, 1),
) -> grain.DatasetIterator:
    """This host's share of the endless, shuffled and augmented training batches.

    Args:
      dataset: from `datasets.load`; `config.data` says what its examples are.
      batch_size: global; a multiple of the number of hosts.
      image_sizes: S of every image wanted, all from one crop.
      max_words: T, the words of a caption; `overflow_rule` says what happens to more.
      seed: of the order, crops, flips, caption choices and cut captions.
      few_swapped_colors: see `WordSwapper`.
      share: this host's number and how many there are.
    Returns:
      An iterator with `close()`, `get_state()` and `set_state()` (JSON, the same on every host,
      good for another number of workers or hosts). Its batches hold, with B this host's share:
      `image_{S}` uint8 [B, S, S, 3], `caption` int32 [B, T], and int32 [B] `caption_length`,
      `class_id` and `index` (of the record); and with damsm.swapped_captions K
      `swapped_caption` int32 [B, K, T].
    """
    seed = seed % 2**32
    make = ExampleMaker(
        config.data,
        dataset.vocabulary,
        image_sizes,
        max_words,
        num_swapped=config.damsm.swapped_captions,
        few_swapped_colors=few_swapped_colors,
    )
    examples = _numbered(dataset.train).shuffle(seed=seed).repeat()
    examples = examples.random_map(make.train_example, seed=seed)
    return _batches(examples, config, batch_size, share)


def eval_batches(
    split: Sequence[Record] | EvenSubset,
    config: Config,
    *,
    vocabulary: Vocabulary,
    batch_size: int,
    image_sizes: Sequence[int],
    num_examples: int | None = None,
    share: tuple[int, int] = (0, 1),
) -> "EvalBatches":
    """(image, caption) pairs in a fixed order, complete, with nothing random.

    Pair n shows record i = n mod (number of records) with caption i + n div (number of records),
    counted round: further passes over the records show other captions of them.

    Args:
      num_examples: pairs wanted; None means one for each record. May exceed the records.
      The others are as in `train_iterator`.
    Returns:
      A sized iterable of batches, as often as wanted. Beside the keys of training they hold
      `caption_index` int32 [B] and `valid` bool [B] (False: fills the last batch); where records
      have them, `attributes` and `caption_attributes` (of the caption shown) int32 [B, A] and
      `part_labels` uint8 [B, S, S] at the largest S.
    """
    num_examples = len(split) if num_examples is None else num_examples
    num_batches = math.ceil(num_examples / batch_size)
    make = ExampleMaker(config.data, vocabulary, image_sizes, config.data.eval_max_words)
    pairs = _numbered(split).repeat()[: num_batches * batch_size]
    pairs = pairs.map_with_index(functools.partial(make.eval_example, num_examples))
    return EvalBatches(functools.partial(_batches, pairs, config, batch_size, share), num_batches)


@dataclasses.dataclass(frozen=True)
class EvalBatches:
    """Batches to iterate over, from the start each time."""

    make_iterator: Callable[[], grain.DatasetIterator]
    num_batches: int

    def __len__(self) -> int:
        return self.num_batches

    def __iter__(self) -> Iterator[Batch]:
        with contextlib.closing(self.make_iterator()) as iterator:
            yield from iterator


@dataclasses.dataclass(frozen=True)
class ExampleMaker:
    """Turns records into examples, which are batches without the axis B; from `config.data`."""

    config: Config
    vocabulary: Vocabulary
    image_sizes: Sequence[int]
    max_words: int
    num_swapped: int = 0  # copies of each training caption with one word exchanged
    few_swapped_colors: bool = False

    @functools.cached_property
    def _swap(self) -> WordSwapper:
        return WordSwapper(self.vocabulary, few_colors=self.few_swapped_colors)

    def train_example(self, record: Record, rng: np.random.Generator) -> Batch:
        """Random crop, flip and caption."""
        image, view = self._view(record, random_flip=self.config.random_flip, rng=rng)
        number = int(rng.integers(self._num_captions(record)))
        example = self._example(record, image, view, number, rng)
        if self.num_swapped:
            example["swapped_caption"] = self._swap(example["caption"], self.num_swapped, rng)
        return example

    def eval_example(self, num_examples: int, n: int, record: Record) -> Batch:
        """Pair `n` of `num_examples`: the central crop, the caption, and ground truth if any."""
        image, view = self._view(record)
        number = (record["index"] + record["epoch"]) % self._num_captions(record)
        fixed = np.random.default_rng((record["index"], number))
        example = self._example(record, image, view, number, fixed)
        example["valid"] = np.asarray(n < num_examples)
        integers = {"caption_index": number}
        if "attributes" in record:
            integers["attributes"] = record["attributes"]
            integers["caption_attributes"] = record["caption_attributes"][number]
        if "part_labels" in record:
            labels, nearest = transforms.decode_labels(record["part_labels"]), Resampling.NEAREST
            shown = transforms.render(labels, view, max(self.image_sizes), resample=nearest)
            example["part_labels"] = np.asarray(shown)
        return example | {key: np.asarray(value, np.int32) for key, value in integers.items()}

    def _view(self, record: Record, **random) -> tuple[Image.Image, transforms.View]:
        """The image and the view of its largest size; smaller ones are resized from that."""
        size, ratio = max(self.image_sizes), self.config.resize_ratio
        box = record["bbox"] if self.config.crop_to_box else (0, 0, 0, 0)
        enough = 2 * max(size, int(size * ratio))  # resizing smooths over twice the pixels
        image, bbox = transforms.decode_with_box(record["image"], box, at_least=enough)
        random |= {"bbox": bbox if self.config.crop_to_box else None}
        view = transforms.choose_view(*image.size, size=size, resize_ratio=ratio, **random)
        return image, view

    def _num_captions(self, record: Record) -> int:
        return min(len(record["captions"]), self.config.captions_per_image)

    def _example(self, record: Record, image, view, number: int, rng) -> Batch:
        """The images of a view and caption `number`; one without a known word is `<end>` alone."""
        crop = transforms.render(image, view, max(self.image_sizes))
        levels = transforms.pyramid(crop, self.image_sizes)
        words = tokenise(record["captions"][number].decode("utf-8"), self.config.tokenizer)
        numbers, rule = self.vocabulary.encode(words), self.config.overflow_rule
        caption, length = transforms.pad_caption(numbers, self.max_words, rng, rule)
        integers = {"caption": caption, "caption_length": max(length, 1)}
        integers |= {key: record[key] for key in ("class_id", "index")}
        images = {f"image_{size}": level for size, level in levels.items()}
        return images | {key: np.asarray(value, np.int32) for key, value in integers.items()}


def _numbered(split: Sequence[Record] | EvenSubset) -> grain.MapDataset:
    """Records with their `index`, and the `epoch` where they are repeated."""
    return grain.MapDataset.source(split).map_with_index(functools.partial(_add_number, len(split)))


def _add_number(num_records: int, n: int, record: Record) -> Record:
    return {**record, "index": n % num_records, "epoch": n // num_records}


def _batches(
    examples: grain.MapDataset, config: Config, batch_size: int, share: tuple[int, int]
) -> grain.DatasetIterator:
    """The share of a host in each global batch of `examples`."""
    threads, workers = config.data.read_threads, config.data.num_workers
    buffer_size = max(threads, config.data.prefetch_batches)
    reading = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=buffer_size)
    processes = grain.MultiprocessingOptions(workers) if workers else None
    options: dict = dict(read_options=reading, multiprocessing_options=processes)
    source, shard = _ContiguousShares(examples, batch_size, share[1]), grain.sharding.ShardOptions
    return iter(grain.experimental.ElasticIterator(source, batch_size, shard(*share), **options))


class _ContiguousShares(grain.MapDataset):
    """Reorders examples so that the k-th of H hosts, which takes every H-th example, gets
    the k-th block of each global batch."""

    def __init__(self, parent: grain.MapDataset, batch_size: int, process_count: int):
        super().__init__(parent)
        if batch_size % process_count:
            problem = f"is not a multiple of the number of hosts, {process_count}"
            raise ValueError(f"the global batch size {batch_size} {problem}")
        self._batch_size, self._process_count = batch_size, process_count

    def __len__(self) -> int:
        return len(self._parent)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return self.slice(index)
        batch, place = divmod(index, self._batch_size)
        place_in_share, process = divmod(place, self._process_count)
        share = self._batch_size // self._process_count
        return self._parent[batch * self._batch_size + process * share + place_in_share]
