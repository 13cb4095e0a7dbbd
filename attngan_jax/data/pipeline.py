"""Records to batches, with Grain.

Everything random follows from the seed and an example's place in the endless training order, so
batches don't depend on the number of worker processes, and hosts only share the work out: the
shares of one global batch, laid end to end, are the batch that a single host would read.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import grain
import numpy as np
from PIL import Image

from attngan_jax.data import decoding, transforms
from attngan_jax.data.vocabulary import Vocabulary

Batch = dict[str, np.ndarray]


def train_iterator(
    dataset,
    config,
    *,
    batch_size: int,
    image_sizes: Sequence[int],
    max_words: int,
    seed: int,
    process_index: int = 0,
    process_count: int = 1,
) -> grain.DatasetIterator:
    """This host's share of the endless, shuffled and augmented training batches.

    Args:
      dataset: from `datasets.load`.
      config: reads `config.data`.
      batch_size: global; a multiple of `process_count`.
      image_sizes: S of every image wanted, all from one crop.
      max_words: T, the words of a caption; what happens to more is `overflow_rule`'s.
      seed: of the order, crops, flips, caption choices and cut captions.
      process_index, process_count: which host this is, of how many.
    Returns:
      An iterator with `get_state()`, `set_state()` (JSON, the same on every host, good for
      another number of workers or hosts) and `close()`. Its batches hold, with B this host's
      share: `image_{S}` uint8 [B, S, S, 3], `caption` int32 [B, T], `caption_length`,
      `class_id` and `index` (of the record) int32 [B].
    """
    seed = seed % 2**32
    make_example = TrainExample(
        _ExampleSettings.from_config(config.data, max_words, dataset.vocabulary, image_sizes),
        config.data.random_flip,
    )
    examples = (
        grain.MapDataset.source(_Numbered(dataset.train))
        .shuffle(seed=seed)
        .repeat()
        .random_map(make_example, seed=seed)
    )
    return iter(
        grain.experimental.ElasticIterator(
            _ContiguousShares(examples, batch_size, process_count),
            batch_size,
            grain.sharding.ShardOptions(process_index, process_count),
            read_options=_read_options(config),
            multiprocessing_options=_worker_options(config),
        )
    )


def eval_batches(
    split,
    config,
    *,
    vocabulary: Vocabulary,
    batch_size: int,
    image_sizes: Sequence[int],
    num_examples: int | None = None,
    captions: str = "one",
    process_index: int = 0,
    process_count: int = 1,
) -> "EvalBatches":
    """(image, caption) pairs in a fixed order, complete, with nothing random.

    Pair n shows record i = n mod (number of records) with caption i + n div (number of records),
    counted round: the first pass over the records takes one caption of each, further passes
    take the others.

    Args:
      split: `dataset.train` or `dataset.test`.
      num_examples: pairs wanted; None means one for each record. May exceed the records.
      captions: "all" adds every caption of the record to its image.
      The others are as in `train_iterator`.
    Returns:
      A sized iterable of batches, as often as wanted. Beside the keys of training they hold
      `caption_index` int32 [B] and `valid` bool [B] (False: fills the last batch); where records
      have them, `attributes` int32 [B, A], `caption_attributes` int32 [B, A] of the caption
      shown and `part_labels` uint8 [B, S, S] at the largest S; with captions="all" also
      `all_captions` int32 [B, M, T] and `all_caption_lengths` int32 [B, M].
    """
    if captions not in ("one", "all"):
        raise ValueError(f"captions must be 'one' or 'all', not {captions!r}")
    make_example = EvalExample(
        _ExampleSettings.from_config(
            config.data, config.data.eval_max_words, vocabulary, image_sizes
        ),
        captions == "all",
    )
    num_examples = len(split) if num_examples is None else num_examples
    pairs = grain.MapDataset.source(_Pairs(split, num_examples, batch_size)).map(make_example)
    share = _ContiguousShares(pairs, batch_size, process_count)[process_index::process_count]
    batches = share.batch(batch_size // process_count).to_iter_dataset(_read_options(config))
    options = _worker_options(config)
    return EvalBatches(
        batches if options is None else batches.mp_prefetch(options), len(pairs) // batch_size
    )


class EvalBatches:
    """Batches to go through, from the start each time."""

    def __init__(self, dataset: grain.IterDataset, num_batches: int):
        self._dataset = dataset
        self._num_batches = num_batches

    def __len__(self) -> int:
        return self._num_batches

    def __iter__(self) -> Iterator[Batch]:
        iterator = iter(self._dataset)
        try:
            yield from iterator
        finally:
            iterator.close()


@dataclasses.dataclass(frozen=True)
class _ExampleSettings:
    """What training and evaluation examples are both made with."""

    vocabulary: Vocabulary
    image_sizes: tuple[int, ...]
    max_words: int
    captions_per_image: int
    crop_to_box: bool
    resize_ratio: float
    overflow_rule: str

    @classmethod
    def from_config(
        cls, data, max_words: int, vocabulary: Vocabulary, image_sizes: Sequence[int]
    ) -> "_ExampleSettings":
        return cls(
            vocabulary,
            tuple(image_sizes),
            max_words,
            data.captions_per_image,
            data.crop_to_box,
            data.resize_ratio,
            data.overflow_rule,
        )

    def picture(self, record: Mapping[str, Any], **kwargs) -> tuple[Image.Image, transforms.View]:
        """The image and the view of its largest size; smaller ones are resized from that."""
        image, bbox = decoding.decode_with_box(record["image"], record["bbox"])
        return image, transforms.choose_view(
            *image.size,
            size=max(self.image_sizes),
            resize_ratio=self.resize_ratio,
            bbox=bbox if self.crop_to_box else None,
            **kwargs,
        )

    def images(self, image: Image.Image, view: transforms.View) -> Batch:
        crop = transforms.render(image, view, max(self.image_sizes))
        levels = transforms.pyramid(crop, self.image_sizes)
        return {f"image_{size}": level for size, level in levels.items()}

    def num_captions(self, record: Mapping[str, Any]) -> int:
        return min(len(record["captions"]), self.captions_per_image)

    def caption(
        self, record: Mapping[str, Any], number: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, int]:
        """Caption `number` as a row; one without a known word is the single word `<end>`."""
        words = self.vocabulary.tokenise(record["captions"][number].decode("utf-8"))
        row, length = transforms.pad_caption(
            self.vocabulary.encode(words), self.max_words, rng, self.overflow_rule
        )
        return row, max(length, 1)


@dataclasses.dataclass(frozen=True)
class TrainExample:
    """A record to one training example: random crop, flip and caption."""

    settings: _ExampleSettings
    random_flip: bool

    def __call__(self, record: Mapping[str, Any], rng: np.random.Generator) -> Batch:
        image, view = self.settings.picture(record, random_flip=self.random_flip, rng=rng)
        number = int(rng.integers(self.settings.num_captions(record)))
        caption, length = self.settings.caption(record, number, rng)
        return self.settings.images(image, view) | {
            "caption": caption,
            "caption_length": np.int32(length),
            "class_id": np.int32(record["class_id"]),
            "index": np.int32(record["index"]),
        }


@dataclasses.dataclass(frozen=True)
class EvalExample:
    """A record and the caption asked for to one evaluation example: the central crop."""

    settings: _ExampleSettings
    all_captions: bool

    def __call__(self, record: Mapping[str, Any]) -> Batch:
        image, view = self.settings.picture(record)
        num_captions = self.settings.num_captions(record)
        number = record["caption_index"] % num_captions
        caption, length = self._caption(record, number)
        example = self.settings.images(image, view) | {
            "caption": caption,
            "caption_length": length,
            "class_id": np.int32(record["class_id"]),
            "index": np.int32(record["index"]),
            "caption_index": np.int32(number),
            "valid": np.bool_(record["valid"]),
        }
        if self.all_captions:
            chosen = [
                self._caption(record, i % num_captions)
                for i in range(self.settings.captions_per_image)
            ]
            captions, lengths = zip(*chosen)
            example["all_captions"] = np.stack(captions)
            example["all_caption_lengths"] = np.stack(lengths)
        return example | self._truth(record, view, number)

    def _caption(self, record: Mapping[str, Any], number: int) -> tuple[np.ndarray, np.int32]:
        fixed = np.random.default_rng((record["index"], number))
        caption, length = self.settings.caption(record, number, fixed)
        return caption, np.int32(length)

    def _truth(self, record: Mapping[str, Any], view: transforms.View, number: int) -> Batch:
        """What only procedural records know about themselves."""
        truth = {}
        if "attributes" in record:
            truth["attributes"] = np.asarray(record["attributes"], np.int32)
            truth["caption_attributes"] = np.asarray(record["caption_attributes"][number], np.int32)
        if "part_labels" in record:
            labels = transforms.render(
                decoding.decode_labels(record["part_labels"]),
                view,
                max(self.settings.image_sizes),
                resample=Image.Resampling.NEAREST,
            )
            truth["part_labels"] = np.asarray(labels)
        return truth


@dataclasses.dataclass(frozen=True)
class _Numbered:
    """Records that know their index."""

    records: Sequence[Mapping[str, Any]]

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {**self.records[index], "index": index}


@dataclasses.dataclass(frozen=True)
class _Pairs:
    """The records with the caption that evaluation shows, filled up to whole batches."""

    records: Sequence[Mapping[str, Any]]
    num_examples: int
    batch_size: int

    def __len__(self) -> int:
        return math.ceil(self.num_examples / self.batch_size) * self.batch_size

    def __getitem__(self, n: int) -> dict[str, Any]:
        passes, index = divmod(n, len(self.records))
        return {
            **self.records[index],
            "index": index,
            "caption_index": index + passes,
            "valid": n < self.num_examples,
        }


class _ContiguousShares(grain.MapDataset):
    """Reorders examples so that the k-th of H hosts, which takes every H-th example, gets
    the k-th block of each global batch."""

    def __init__(self, parent: grain.MapDataset, batch_size: int, process_count: int):
        super().__init__(parent)
        if batch_size % process_count:
            raise ValueError(
                f"the global batch size {batch_size} is not a multiple of the number "
                f"of hosts, {process_count}"
            )
        self._batch_size = batch_size
        self._process_count = process_count

    def __len__(self) -> int:
        return len(self._parent)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return self.slice(index)
        batch, place = divmod(index, self._batch_size)
        place_in_share, process = divmod(place, self._process_count)
        share = self._batch_size // self._process_count
        return self._parent[batch * self._batch_size + process * share + place_in_share]


def _read_options(config) -> grain.ReadOptions:
    threads = config.data.read_threads
    return grain.ReadOptions(
        num_threads=threads, prefetch_buffer_size=max(threads, config.data.prefetch_batches)
    )


def _worker_options(config) -> grain.MultiprocessingOptions | None:
    workers = config.data.num_workers
    return grain.MultiprocessingOptions(num_workers=workers) if workers else None


@dataclasses.dataclass(frozen=True)
class EvenSubset:
    """`count` records of a split at even distances, so that they are not all of one class."""

    split: Sequence[Mapping[str, Any]]
    count: int

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, n: int) -> Mapping[str, Any]:
        return self.split[n * len(self.split) // self.count]
