"""COCO 2014 with its captions: trained on train2014, tested on val2014, without classes."""

import json
from pathlib import Path
from typing import Any

from attngan_jax import plain_files
from attngan_jax.data.dataset_report import Notes
from attngan_jax.data.image_lists import MAX_LIST_BYTES
from attngan_jax.data.photographs import Entry, Listing, PhotographBuilder
from attngan_jax.errors import UserError


class Coco(PhotographBuilder):
    """`captions_{train,val}2014.json`, there or in `annotations/`, and the two image folders.

    The first five captions of an image are kept, in the order of the file.
    """

    MAX_CAPTIONS = 5
    HOW_TO_GET = (
        "It needs train2014.zip, val2014.zip and annotations_trainval2014.zip from "
        "https://cocodataset.org/#download (SHA-256 "
        "ede4087e640bddba550e090eae701092534b554b42b05ac33f0300b984b31775, "
        "fe9be816052049c34717e077d9e34aa60814a55679f804cd043e3cbee3b9fde0 and "
        "031296bbc80c45a1d1f76bf9a90ead27e94e99ec629208449507a4917a3bf009), unpacked in one folder"
    )

    def list_entries(self, source: Path, dl_manager) -> Listing:
        def find(what: str, *names: str) -> Path:
            found = [source / name for name in names if (source / name).exists()]
            if not found:
                raise self.source_error(f"{source} lacks {what}")
            return found[0]

        notes = Notes()
        splits, roots = {}, {}
        for split, name in {"train": "train2014", "test": "val2014"}.items():
            file = f"captions_{name}.json"
            path = find(file, f"annotations/{file}", file)
            roots[split] = find(f"the folder {name}", name, f"images/{name}").resolve()
            splits[split] = read_entries(path, notes)
        return Listing(splits, roots, source, notes)


def read_entries(path: Path, notes: Notes) -> list[Entry]:
    """The images of an annotation file in its order, each with the captions of its id.

    `notes` takes what is repaired or ignored. `UserError` if the file is damaged or another.
    """
    try:
        content = json.loads(plain_files.read_bytes(path, MAX_LIST_BYTES))
        images, annotations = content["images"], content["annotations"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        problem = f"or is damaged ({type(error).__name__}: {error}). {Coco.HOW_TO_GET}"
        raise UserError(f"{path} is not COCO's list of captions, {problem}") from error
    captions: dict[Any, list[str]] = {}
    for number, annotation in enumerate(_dicts(annotations)):
        image_id, caption = annotation.get("image_id"), annotation.get("caption")
        if isinstance(caption, str) and _is_id(image_id):
            captions.setdefault(image_id, []).append(caption)
        else:
            place = f"{path.name}, annotation {number}"
            notes.append(("annotation without caption or image ignored", place))
    entries, seen = [], set()
    for number, image in enumerate(_dicts(images)):
        image_id, file = image.get("id"), image.get("file_name")
        if isinstance(file, str) and file and _is_id(image_id):
            left_out, texts = "id listed twice" * (image_id in seen), captions.get(image_id, ())
            entries.append(Entry(file, file, tuple(texts), left_out=left_out))
            seen.add(image_id)
        else:
            place, left_out = f"{path.name}, image {number}", "no file name or id listed"
            entries.append(Entry(place, "", (), left_out=left_out))
    reason = "captions of an image that is not listed ignored"
    notes += [(reason, f"{path.name}, image {image_id}") for image_id in captions.keys() - seen]
    return entries


def _dicts(rows: Any) -> list[dict]:
    return [row if isinstance(row, dict) else {} for row in rows] if isinstance(rows, list) else []


def _is_id(value: Any) -> bool:
    return isinstance(value, (int, str)) and not isinstance(value, bool)
