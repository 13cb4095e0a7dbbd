"""Which test captions an evaluation shows, and what can't be measured with them: asked first."""

import dataclasses
from collections import Counter

import numpy as np

from attngan_jax.configuration import Config
from attngan_jax.data.datasets import Dataset
from attngan_jax.data.vocabulary import tokenise
from attngan_jax.evaluation.batched_map import Split
from attngan_jax.evaluation.metrics.r_precision import Protocol, missing_candidates

FEWEST = {"fid": 2, "kid": 3}  # images of either kind
ONE_CLASS = "all test captions shown are of one class: mismatching ones are of another image"


@dataclasses.dataclass(frozen=True)
class TestRecords:
    """The test split without its images, one entry a record."""

    __test__ = False  # no class of tests, to pytest

    names: list[str]
    captions: list[list[str]]
    class_ids: np.ndarray  # int `[R]`; -1: none

    @classmethod
    def read(cls, split: Split) -> "TestRecords":
        """Reads every record of a split once."""
        names, captions, class_ids = [], [], []
        for n in range(len(split)):
            record = split[n]
            names.append(record["name"].decode("utf-8", "replace"))
            captions.append([text.decode("utf-8", "replace") for text in record["captions"]])
            class_ids.append(int(record["class_id"]))
        return cls(names, captions, np.array(class_ids, np.int64))


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is measured of the pairs, and why the rest isn't.

    Attributes:
      protocol: R-precision's; that which was asked for, but for `mismatch_reason`.
      unavailable: why a metric can't be had, by its name in `metrics.json`.
      duplicate_captions: pairs whose caption a mismatching pair has, too, word for word.
      mismatch_reason: why captions of another class are not what mismatches; "": they are, or
        were not asked for.
    """

    protocol: Protocol
    unavailable: dict[str, str]
    duplicate_captions: int = 0
    mismatch_reason: str = ""


def plan(records: TestRecords, dataset: Dataset, config: Config, protocol: Protocol) -> Plan:
    """What can be measured with the pairs of `pipeline.eval_batches`."""
    R, N = len(records.names), protocol.num_images
    of_record, rounds = np.arange(N) % R, np.arange(N) // R
    counts = np.array([len(texts) for texts in records.captions])
    counts = np.minimum(counts, config.data.captions_per_image)[of_record]
    shown = zip(of_record.tolist(), ((of_record + rounds) % counts).tolist())
    words: dict[tuple[int, ...], int] = {}
    encoded: dict[tuple[int, int], int] = {}
    texts = np.zeros(N, np.int64)
    for n, pair in enumerate(shown):
        if pair not in encoded:
            numbers = dataset.vocabulary.encode(tokenise(records.captions[pair[0]][pair[1]]))
            encoded[pair] = words.setdefault(tuple(numbers), len(words))
        texts[n] = encoded[pair]

    class_ids, reason = records.class_ids[of_record], ""
    if protocol.mismatch == "class" and len(set(class_ids.tolist())) == 1 and class_ids[0] >= 0:
        protocol, reason = dataclasses.replace(protocol, mismatch="image"), ONE_CLASS
    use_class = (protocol.mismatch == "class") & (class_ids >= 0)
    ids = np.where(use_class, class_ids, of_record)
    unavailable = _too_few_images(N, dataset, config)
    if problem := missing_candidates(ids, protocol):
        names = ("r_precision", "r_precision_real_images", "r_precision_independent")
        unavailable |= dict.fromkeys(names, f"not computed: it {problem}")
    return Plan(protocol, unavailable, _duplicates(texts, ids), reason)


def _too_few_images(num_images: int, dataset: Dataset, config: Config) -> dict[str, str]:
    """Why distances and scores can't be had of so few images."""
    why, settings = {}, config.eval
    real = len(getattr(dataset, settings.reference_split))
    fewest = {"": (num_images, real), "_damsm": (num_images, real)}
    fewest["_judge"] = (min(num_images, len(dataset.train)), len(dataset.test))
    for suffix, (generated, real) in fewest.items():
        for name, least in FEWEST.items():
            found = min(generated, real)
            if name == "kid":
                found = min(found, settings.kid_images)
            if found < least:
                have = f"there are {generated:,} generated and {real:,} real ones"
                if name == "kid" and settings.kid_images < least:
                    have = f"config.eval.kid_images is {settings.kid_images}"
                text = f"not computed: it needs {least} images of either kind, and {have}"
                why[f"{name}{suffix}"] = text
    if num_images < settings.inception_splits:
        splits = f"config.eval.inception_splits={settings.inception_splits}"
        text = f"not computed: {num_images:,} images do not fill {splits}"
        why |= dict.fromkeys(("inception_score", "inception_score_calibrated"), text)
    return why


def _duplicates(texts: np.ndarray, ids: np.ndarray) -> int:
    """Pairs whose text a pair of another id has; both int `[N]`."""
    by_text, by_both = Counter(texts.tolist()), Counter(zip(texts.tolist(), ids.tolist()))
    return sum(count for (text, _), count in by_both.items() if by_text[text] > count)
