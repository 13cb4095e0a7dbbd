"""TensorBoard's event files under CLU's writers, without TensorFlow.

The one module of CLU's that imports TensorFlow is its writer of event files, and importing any of
its writers imports that one. This module takes its place: it comes first, so CLU is imported here.
"""

import io
import itertools
import os
import pathlib
import socket
import sys
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.plugins.image.metadata import create_summary_metadata
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
from tensorboard.plugins.text.summary_v2 import text_pb
from tensorboard.summary.writer.record_writer import RecordWriter
from tensorboard.util.tensor_util import make_tensor_proto

_count = itertools.count()  # of this process's files


class SummaryWriter:
    """Writes one event file into a folder of this machine, as `clu.metric_writers.MetricWriter`.

    Of what CLU's writers pass on it takes what this package writes: scalars, images and texts.
    """

    def __init__(self, logdir: str):
        pathlib.Path(logdir).mkdir(parents=True, exist_ok=True)
        parts = f"{time.time():010.0f}.{socket.gethostname()}.{os.getpid()}.{next(_count)}"
        file = open(os.path.join(logdir, f"events.out.tfevents.{parts}"), "wb")
        self._records = RecordWriter(file)
        self._add(file_version="brain.Event:2")
        self.flush()

    def write_scalars(self, step: int, scalars: Mapping[str, Any]) -> None:
        """Writes numbers by name."""
        for name, value in scalars.items():
            self._add(step=step, summary=scalar_pb(name, value))

    def write_images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        """Writes images, uint8 `[N, H, W, 3]`, by name."""
        metadata: SummaryMetadata = create_summary_metadata(display_name=None, description=None)
        for name, batch in images.items():
            _, height, width, _ = batch.shape
            contents = [str(width).encode(), str(height).encode()]
            for image in batch:
                png = io.BytesIO()
                Image.fromarray(np.asarray(image)).save(png, "PNG")
                contents.append(png.getvalue())
            tensor = make_tensor_proto(contents, dtype=np.object_)
            value = Summary.Value(tag=name, metadata=metadata, tensor=tensor)
            self._add(step=step, summary=Summary(value=[value]))

    def write_texts(self, step: int, texts: Mapping[str, str]) -> None:
        """Writes texts, in Markdown, by name."""
        for name, text in texts.items():
            self._add(step=step, summary=text_pb(name, text))

    def _add(self, **fields: Any) -> None:
        self._records.write(Event(wall_time=time.time(), **fields).SerializeToString())

    def flush(self) -> None:
        """Makes what was written so far readable for others."""
        if not self._records.closed:
            self._records.flush()

    def close(self) -> None:
        """Ends the file."""
        self._records.close()


sys.modules.setdefault("clu.metric_writers.summary_writer", sys.modules[__name__])

from clu import metric_writers, periodic_actions  # noqa: E402

__all__ = ["SummaryWriter", "metric_writers", "periodic_actions"]
