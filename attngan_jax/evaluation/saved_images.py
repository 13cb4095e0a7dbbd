"""The generated images of an evaluation as files, for any other program to score.

A folder holds one file an image and `manifest.json`: which model made them, how, and for each file
its caption. Files appear whole or not at all, so that what a killed evaluation wrote is kept.
"""

import concurrent.futures
import io
import json
import os
from collections.abc import Mapping

import numpy as np
from PIL import Image

from attngan_jax import plain_files, storage
from attngan_jax.errors import UserError
from attngan_jax.evaluation.shown_pairs import TestRecords

FORMATS = ("png", "webp")  # both lossless
MANIFEST = "manifest.json"


class SavedImages:
    """Writes images a batch at a time; holds no more than a batch.

    `model` says what made the images, in JSON values. A folder whose manifest says something else,
    or that holds other files, is refused with a `UserError`.
    """

    def __init__(
        self, folder: storage.PathLike, model: dict, records: TestRecords, image_format: str = "png"
    ):
        self._folder, self._records, self._format = storage.path(folder), records, image_format
        self._model = {"format": image_format} | model
        self._images: list[dict] = []
        self._present = self._check()
        self._pool = concurrent.futures.ThreadPoolExecutor(min(8, os.cpu_count() or 1))

    def _check(self) -> set[str]:
        """The names of the images that are there already."""
        try:
            names = {path.name for path in self._folder.iterdir()}
        except FileNotFoundError:
            names = set()
        except NotADirectoryError as error:
            raise UserError(f"{self._folder} is no folder: choose another --save_images") from error
        if MANIFEST in names:
            manifest = self._folder / MANIFEST
            try:
                found = json.loads(plain_files.read_text(manifest))["model"]
            except (ValueError, KeyError, TypeError) as error:
                problem = f"{manifest} is no manifest of saved images"
                raise UserError(f"{problem}: give --save_images an empty folder") from error
            if found != self._model:
                keys = found.keys() | self._model.keys() if isinstance(found, dict) else {"model"}
                found = found if isinstance(found, dict) else {}
                other = sorted(k for k in keys if found.get(k) != self._model.get(k))
                problem = f"{self._folder} holds images of another {', '.join(other)}"
                raise UserError(f"{problem}: give --save_images an empty folder")
        elif names:
            problem = f"{self._folder} is not empty, and no evaluation saved its images there"
            raise UserError(f"{problem}: give --save_images an empty folder")
        storage.check_is_writable("save_images", self._folder)
        self._write_manifest(complete=False)
        return {name for name in names if name.endswith(f".{self._format}")}

    def add(self, rows: Mapping[str, np.ndarray]) -> None:
        """Writes the next images: `image` uint8 `[B, S, S, 3]`, and of each the record's `index`
        and the `caption_index` in it, int `[B]`."""
        writing = []
        for image, record, caption in zip(rows["image"], rows["index"], rows["caption_index"]):
            place, record, caption = len(self._images), int(record), int(caption)
            name = f"{place:06d}_record_{record:06d}_caption_{caption:02d}.{self._format}"
            self._images.append(
                {
                    "file": name,
                    "record": record,
                    "record_name": self._records.names[record],
                    "class_id": int(self._records.class_ids[record]),
                    "caption_index": caption,
                    "caption": self._records.captions[record][caption],
                }
            )
            if name not in self._present:
                writing.append(self._pool.submit(self._write, self._folder / name, image))
        for done in writing:
            done.result()

    def _write(self, path: storage.Path, image: np.ndarray) -> None:
        content, lossless = io.BytesIO(), {"lossless": True} if self._format == "webp" else {}
        Image.fromarray(image).save(content, self._format, **lossless)
        storage.write_bytes(path, content.getvalue())

    def finish(self) -> None:
        """Writes the manifest with all images, once they are added."""
        self._pool.shutdown()
        self._write_manifest(complete=True)

    def _write_manifest(self, complete: bool) -> None:
        manifest = {"model": self._model, "complete": complete, "images": self._images}
        text = json.dumps(manifest, indent=1, ensure_ascii=False) + "\n"
        storage.write_text(self._folder / MANIFEST, text)
