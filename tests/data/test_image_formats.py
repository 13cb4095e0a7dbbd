"""Images are opened by the formats they may have: nothing else is read, nothing is started."""

import os

import pytest
from PIL import features

from attngan_jax.data import source_files
from attngan_jax.data.transforms import FORMATS, decode_image, decode_labels
from tests.hostile.corpus import POSTSCRIPT
from tests.made_up_sources import build, captions, encoded, write

DATASET = "folder"


@pytest.fixture
def started(tmp_path, monkeypatch):
    """A file that appears when something starts `gs`."""
    program, mark = tmp_path / "bin" / "gs", tmp_path / "started"
    write(program, f"#!/bin/sh\ntouch {mark}\ncat > /dev/null\n").chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return mark


def test_a_jpg_that_is_postscript_starts_nothing(config, tmp_path, started):
    for k in range(8):
        write(tmp_path / "source" / f"{k}.jpg", encoded(k) if k else POSTSCRIPT)
        write(tmp_path / "source" / f"{k}.txt", "\n".join(captions(k)))
    config.data.max_left_out = 0.5
    dataset = build(config, tmp_path / "source")
    assert dataset.report["left_out"]["not an image"]["first"] == ["0"]
    for read in (decode_image, decode_labels):
        with pytest.raises(Exception, match="cannot identify"):
            read(POSTSCRIPT)
    assert not started.exists()


def test_the_formats_are_those_of_photographs_and_drawings():
    for known in ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"):
        assert known in FORMATS and decode_image(encoded(3, kind=known)).size == (60, 45)
    assert ("AVIF" in FORMATS) == bool(features.check("avif"))
    assert not {"EPS", "PDF", "WMF", "MPEG", "PSD"} & set(FORMATS)
    for other in ("PPM", "ICO", "PCX"):
        with pytest.raises(Exception, match="cannot identify"):
            decode_image(encoded(3, kind=other))
    assert source_files.is_image_name("a.JFIF") and not source_files.is_image_name("a.eps")
