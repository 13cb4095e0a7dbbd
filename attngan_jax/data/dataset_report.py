"""What a built dataset holds: its vocabulary, `report/prepare.json`, and the same as a table."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attngan_jax import plain_files, storage
from attngan_jax.bars import Bar
from attngan_jax.configuration import Config
from attngan_jax.data.vocabulary import END, Vocabulary, dropped_characters, tokenise
from attngan_jax.workdir import Workdir, read_json

BUILD_FILE = "build.json"  # what the builder writes of the build, beside the records
RECORDS = "*.array_record*"
NUM_NAMED = 10  # images of each reason
_BAR = 40  # characters of the histogram's longest bar

Notes = list[tuple[str, str]]  # reasons, and the image or place of each
Records = Sequence[Mapping[str, Any]]


def printable(name: str) -> str:
    """A file's name that need not be UTF-8, as text that can be."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def count_by_reason(notes: Notes) -> dict[str, dict[str, Any]]:
    """`{reason: {"count", "first"}}`: how often and where first, the most frequent reason first."""
    report = {}
    for reason, count in Counter(reason for reason, _ in notes).most_common():
        places = [printable(place) for found, place in notes if found == reason]
        report[reason] = {"count": count, "first": places[:NUM_NAMED]}
    return report


def files(folder: Path, data: Config) -> tuple[Path, Path]:
    """The vocabulary and the report by `config.data`; called as a workdir's.

    One dataset may have several: of words that occur so often, of the tokeniser that it was built
    with and of the other.
    """
    built_with = build_facts(folder).get("tokenizer", "ascii")
    suffix = "" if data.tokenizer == built_with else f"_{data.tokenizer}"
    suffix += "" if data.min_word_count == 1 else f"_min{data.min_word_count}"
    paths = map(Path, (Workdir(folder).vocabulary, Workdir(folder).prepare_report))
    vocabulary, report = (path.with_stem(f"{path.stem}{suffix}") for path in paths)
    return vocabulary, report


def read_report(folder: Path, data: Config) -> dict[str, Any] | None:
    """Reads what `summarise` wrote; None if it isn't there, or is damaged."""
    try:
        return json.loads(plain_files.read_text(files(folder, data)[1]))
    except (OSError, ValueError):
        return None


def find_damage(folder: Path, data: Config) -> list[str]:
    """The files of a built dataset, by name, that are not as `summarise` found or wrote them."""
    noted = (read_report(folder, data) or {}).get("digests", {})
    return [name for name in noted if not storage.is_unchanged(folder / name, noted[name])]


def build_facts(folder: Path) -> dict[str, Any]:
    """Reads what the builder wrote of the build; {} from builders that write nothing."""
    path = folder / BUILD_FILE
    return read_json(path) or {}


class Dropped:
    """Characters of captions that their tokeniser drops: how many, which most, where."""

    def __init__(self, tokenizer: str):
        self._tokenizer = tokenizer
        self._characters, self._captions = Counter[str](), 0
        self._examples: list[str] = []

    def add(self, caption: str) -> None:
        """Counts those of one caption."""
        if found := dropped_characters(caption, self._tokenizer):
            self._captions += 1
            self._characters.update(found)
            if len(self._examples) < 3:
                self._examples.append(caption[:60])

    def report(self) -> dict[str, Any]:
        """The counts as JSON values."""
        most = dict(self._characters.most_common(NUM_NAMED))
        facts = {"characters": self._characters.total(), "captions": self._captions}
        return facts | {"most": most, "examples": self._examples}


def summarise(folder: Path, splits: Mapping[str, Records], data: Config, seconds: float) -> None:
    """Reads all captions once; writes `report/prepare.json` and then the vocabulary.

    `seconds` is what the build took, for builders that don't write it down.
    """
    facts, min_word_count = build_facts(folder), data.min_word_count
    counts = Counter[str]()  # in the order in which the words first occur
    dropped = Dropped(data.tokenizer)
    rows, lengths, distinct = {}, {}, {}
    for split, records in splits.items():
        class_ids, histogram, captions_seen = {-1}, Counter[int](), set[int]()
        for i in Bar(range(len(records)), desc=f"Words of {split}", unit=" images"):
            record = records[i]
            class_ids.add(int(record["class_id"]))
            for caption in record["captions"]:
                text = caption.decode("utf-8")
                words = tokenise(text, data.tokenizer)
                dropped.add(text)
                captions_seen.add(hash(text))
                counts.update(words)
                histogram[len(words)] += 1
        captions, classes = histogram.total(), len(class_ids) - 1
        rows[split] = {"images": len(records), "captions": captions, "classes": classes}
        distinct[split] = len(captions_seen)
        lengths[split] = dict(sorted(histogram.items()))
    vocabulary, words_from = Vocabulary.from_counts(counts, min_word_count), "captions"
    if facts.get("words") and min_word_count == 1 and data.tokenizer == "ascii":
        vocabulary, words_from = Vocabulary(facts["words"]), "captions.pickle"
    report: dict[str, Any] = {
        "dataset": data.dataset,
        "source": facts.get("source"),
        "splits": rows,
        "words": len(vocabulary),
        "words_from": words_from,
        "min_word_count": min_word_count,
        "words_without_number": len(counts.keys() - set(vocabulary.words)),
        "tokenizer": data.tokenizer,
        "dropped_characters": dropped.report(),
        "distinct_captions": distinct,
        "caption_lengths": lengths,
        "listed": facts.get("listed", sum(row["images"] for row in rows.values())),
        "left_out": facts.get("left_out", {}),
        "repaired": facts.get("repaired", {}),
        "seconds": facts.get("seconds", round(seconds, 1)),
        "bytes": sum(path.stat().st_size for path in folder.glob(RECORDS)),
    }
    vocabulary_file, report_file = files(folder, data)
    paths = sorted([*folder.glob(RECORDS), *folder.glob("dataset_info.json")])
    digests = {path.name: storage.file_digest(path) for path in paths}
    digests[vocabulary_file.name] = storage.digest([vocabulary.content])
    report["digests"] = digests
    storage.write_text(report_file, json.dumps(report, indent=2) + "\n")
    vocabulary.save(vocabulary_file)


def _dropped_rows(report: Mapping[str, Any]) -> list[str]:
    """Which characters the tokeniser drops; none of a report that is older, or has none."""
    dropped = report.get("dropped_characters", {"characters": 0})
    if not dropped["characters"]:
        return []
    kept = {"ascii": "ASCII letters and digits are kept alone", "unicode": "symbols are no words"}
    most = ", ".join(f"{one} ({count:,})" for one, count in dropped["most"].items())
    named = f"{'dropped':14}{dropped['characters']:>10,}   characters of {dropped['captions']:,}"
    rows = [f"{named} captions ({kept[report['tokenizer']]}): {most}"]
    rows += [f"{'':27}{example}" for example in dropped["examples"]]
    if report["tokenizer"] == "ascii":
        rows.append(f"{'':27}--config.data.tokenizer=unicode keeps the letters of all languages")
    return rows


def table(report: Mapping[str, Any]) -> str:
    """A report as text."""
    lines = [f"{'':14}{'images':>10}{'captions':>12}{'classes':>10}"]
    for split, row in report["splits"].items():
        images, captions, classes = row["images"], row["captions"], row["classes"] or "-"
        lines.append(f"{split:14}{images:>10,}{captions:>12,}{classes:>10}")
    unnumbered = report["words_without_number"]
    others = f"; {unnumbered:,} others have no number" if unnumbered else ""
    lines += [
        f"{'words':14}{report['words']:>10,}   with {END}, from {report['words_from']}{others}",
        f"{'megabytes':14}{report['bytes'] / 1e6:>10,.1f}",
        f"{'seconds':14}{report['seconds']:>10,.1f}",
        "words a caption",
    ]
    lines[-1:-1] = _dropped_rows(report)
    groups = Counter[int]()  # of five lengths each; those from 40 on are one
    for histogram in report["caption_lengths"].values():
        for length, count in histogram.items():
            groups[min(int(length) // 5, 8)] += count
    for group, count in sorted(groups.items()):
        title = f"{5 * group} to {5 * group + 4}" if group < 8 else "40 and more"
        bar = "#" * round(_BAR * count / max(groups.values()))
        lines.append(f"{title:>14}{count:>10,}   {bar}".rstrip())
    for key in ("left_out", "repaired"):
        total = sum(reason["count"] for reason in report[key].values())
        share = f" ({100 * total / report['listed']:.2f} %)" if key == "left_out" else ""
        lines.append(f"{key.replace('_', ' '):14}{total:>10,}{share}")
        for what, reason in report[key].items():
            named = ", ".join(reason["first"][:3]) + ", ..." * (reason["count"] > 3)
            lines.append(f"{'':14}{reason['count']:>10,}   {what}: {named}")
    return "\n".join(lines)
