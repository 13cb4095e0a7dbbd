"""COCO 2014 with its captions: trained on train2014, tested on val2014, without classes."""

import json
from pathlib import Path
from typing import Any

from attngan_jax.data.photographs import Entry, Listing, PhotographBuilder
from attngan_jax.errors import UserError

_SPLITS = {"train": "train2014", "test": "val2014"}


class Coco(PhotographBuilder, skip_registration=True):  # TFDS has a "coco" of its own
    """`captions_{train,val}2014.json`, there or in `annotations/`, and the two image folders.

    The first five captions of an image are kept, in the order of the file.
    """

    NUM_CAPTIONS = 5

    @classmethod
    def how_to_get(cls) -> str:
        return (
            "It needs train2014.zip, val2014.zip and annotations_trainval2014.zip from "
            "https://cocodataset.org/#download (SHA-256 ede4087e640bddba550e090eae701092534b554"
            "b42b05ac33f0300b984b31775, fe9be816052049c34717e077d9e34aa60814a55679f804cd043e3cb"
            "ee3b9fde0 and 031296bbc80c45a1d1f76bf9a90ead27e94e99ec629208449507a4917a3bf009), "
            "unpacked in one folder"
        )

    def _list_entries(self, source: Path, dl_manager) -> Listing:
        del dl_manager
        notes: dict[str, list[str]] = {}
        splits, roots = {}, {}
        for split, name in _SPLITS.items():
            file = _first(source, f"annotations/captions_{name}.json", f"captions_{name}.json")
            roots[split] = _first(source, name, f"images/{name}")
            if file is None or roots[split] is None:
                lacking = f"captions_{name}.json" if file is None else f"the folder {name}"
                raise UserError(f"{source} lacks {lacking}. {self.how_to_get()}")
            roots[split] = roots[split].resolve()
            splits[split] = read_entries(file, notes)
        return Listing(splits, roots, source, notes=notes)


def read_entries(path: Path, notes: dict[str, list[str]]) -> list[Entry]:
    """The images of an annotation file in its order, each with the captions of its id.

    Args:
      notes: takes what is mended or ignored, reason -> where.
    Raises:
      UserError: the file is damaged, or isn't of this kind.
    """
    try:
        annotations = json.loads(path.read_bytes())
        listed, said = annotations["images"], annotations["annotations"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(
            f"{path} is not COCO's list of captions, or is damaged "
            f"({type(error).__name__}: {error}). {Coco.how_to_get()}"
        ) from error
    captions: dict[Any, list[str]] = {}
    for number, one in enumerate(_dicts(said)):
        if isinstance(one.get("caption"), str) and _is_id(one.get("image_id")):
            captions.setdefault(one["image_id"], []).append(one["caption"])
        else:
            notes.setdefault("annotation without caption or image ignored", []).append(
                f"{path.name}, annotation {number}"
            )
    entries, seen = [], set()
    for number, image in enumerate(_dicts(listed)):
        image_id, file = image.get("id"), image.get("file_name")
        if not (isinstance(file, str) and file and _is_id(image_id)):
            entries.append(
                Entry(f"{path.name}, image {number}", "", (), left_out="no file name or id listed")
            )
            continue
        left_out = "id listed twice" if image_id in seen else ""
        seen.add(image_id)
        entries.append(Entry(file, file, tuple(captions.get(image_id, ())), left_out=left_out))
    for image_id in captions.keys() - seen:
        notes.setdefault("captions of an image that is not listed ignored", []).append(
            f"{path.name}, image {image_id}"
        )
    return entries


def _dicts(rows: Any) -> list[dict]:
    return [row if isinstance(row, dict) else {} for row in rows] if isinstance(rows, list) else []


def _is_id(value: Any) -> bool:
    return isinstance(value, (int, str)) and not isinstance(value, bool)


def _first(source: Path, *names: str) -> Path | None:
    return next((source / name for name in names if (source / name).exists()), None)
