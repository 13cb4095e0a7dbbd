"""What a built dataset holds: its vocabulary, `report/prepare.json`, and the same as a table."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from attngan_jax.configuration import write_text
from attngan_jax.data.photographs import BUILD_FILE
from attngan_jax.data.vocabulary import END, Vocabulary, tokenise

REPORT_FILE = Path("report", "prepare.json")  # in a workdir, and beside the records
_BAR = 40  # characters of the histogram's longest bar

Records = Sequence[Mapping[str, Any]]


def vocabulary_file(folder: Path, min_word_count: int) -> Path:
    """Where the words are that occur so often."""
    return folder / f"vocabulary{_suffix(min_word_count)}.txt"


def report_file(folder: Path, min_word_count: int) -> Path:
    """Where the report is of a vocabulary of the words that occur so often."""
    return folder / REPORT_FILE.with_stem(f"{REPORT_FILE.stem}{_suffix(min_word_count)}")


def _suffix(min_word_count: int) -> str:
    return "" if min_word_count == 1 else f"_min{min_word_count}"


def read_report(folder: Path, min_word_count: int) -> dict[str, Any] | None:
    """What `summarise` wrote; None if it isn't there, or is damaged."""
    try:
        return json.loads(report_file(folder, min_word_count).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def build_facts(folder: Path) -> dict[str, Any]:
    """What the builder wrote down of the build; {} from builders that don't."""
    path = folder / BUILD_FILE
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def summarise(
    name: str, folder: Path, splits: Mapping[str, Records], min_word_count: int, seconds: float
) -> None:
    """Reads all captions once; writes `report/prepare.json` and then the vocabulary.

    Args:
      seconds: that the build took, for builders that don't write it down.
    """
    facts = build_facts(folder)
    counts: Counter[str] = Counter()  # in the order in which the words first occur
    rows, lengths = {}, {}
    for split, records in splits.items():
        lengths[split], classes = Counter(), set()
        for record in _with_progress(records, split):
            classes.add(int(record["class_id"]))
            for caption in record["captions"]:
                words = tokenise(caption.decode("utf-8"))
                counts.update(words)
                lengths[split][len(words)] += 1
        rows[split] = {
            "images": len(records),
            "captions": lengths[split].total(),
            "classes": len(classes - {-1}),
        }
    imported = "words" in facts and min_word_count == 1
    vocabulary = (
        Vocabulary(facts["words"]) if imported else Vocabulary.from_counts(counts, min_word_count)
    )
    report = {
        "dataset": name,
        "source": facts.get("source"),
        "splits": rows,
        "words": len(vocabulary),
        "words_from": "captions.pickle" if imported else "captions",
        "min_word_count": min_word_count,
        "words_without_number": len(counts.keys() - set(vocabulary.words)),
        "caption_lengths": {
            split: dict(sorted(histogram.items())) for split, histogram in lengths.items()
        },
        "listed": facts.get("listed", sum(row["images"] for row in rows.values())),
        "left_out": facts.get("left_out", {}),
        "repaired": facts.get("repaired", {}),
        "seconds": facts.get("seconds", round(seconds, 1)),
        "bytes": sum(path.stat().st_size for path in folder.glob("*.array_record*")),
    }
    write_text(report_file(folder, min_word_count), json.dumps(report, indent=2) + "\n")
    vocabulary.save(vocabulary_file(folder, min_word_count))


def _with_progress(records: Records, split: str) -> Iterator[Mapping[str, Any]]:
    for i in tqdm(range(len(records)), desc=f"Words of {split}", unit=" images"):
        yield records[i]


def table(report: Mapping[str, Any]) -> str:
    """A report as text."""
    lines = [f"{'':14}{'images':>10}{'captions':>12}{'classes':>10}"]
    for split, row in report["splits"].items():
        lines.append(
            f"{split:14}{row['images']:>10,}{row['captions']:>12,}{row['classes'] or '-':>10}"
        )
    lines += [
        f"{'words':14}{report['words']:>10,}   with {END}, from {report['words_from']}"
        + (
            f"; {report['words_without_number']:,} others have no number"
            if report["words_without_number"]
            else ""
        ),
        f"{'megabytes':14}{report['bytes'] / 1e6:>10,.1f}",
        f"{'seconds':14}{report['seconds']:>10,.1f}",
        "words a caption",
    ]
    lines += _histogram(report["caption_lengths"])
    for key, title in (("left_out", "left out"), ("repaired", "repaired")):
        total = sum(reason["count"] for reason in report[key].values())
        share = f" ({100 * total / report['listed']:.2f} %)" if key == "left_out" else ""
        lines.append(f"{title:14}{total:>10,}{share}")
        lines += [
            f"{'':14}{reason['count']:>10,}   {what}: {', '.join(reason['first'][:3])}"
            f"{', ...' if reason['count'] > 3 else ''}"
            for what, reason in report[key].items()
        ]
    return "\n".join(lines)


def _histogram(lengths: Mapping[str, Mapping[str, int]]) -> list[str]:
    groups: Counter[int] = Counter()  # of five lengths each; those from 40 on are one
    for histogram in lengths.values():
        for length, count in histogram.items():
            groups[min(int(length) // 5, 8)] += count
    longest = max(groups.values(), default=1)
    return [
        f"{f'{5 * group} to {5 * group + 4}' if group < 8 else '40 and more':>14}"
        f"{count:>10,}   {'#' * round(_BAR * count / longest)}".rstrip()
        for group, count in sorted(groups.items())
    ]
