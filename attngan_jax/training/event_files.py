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
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboardX.proto.tensor_pb2 import TensorProto
from tensorboardX.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboardX.proto.types_pb2 import DT_FLOAT, DT_STRING
from tensorboardX.record_writer import RecordWriter

_count = itertools.count()  # of this process's files


class SummaryWriter:
    """Writes one event file into a folder of this machine, as `clu.metric_writers.MetricWriter`.

    Of what CLU's writers pass on it takes what this package writes: scalars, images and texts.
    """

    def __init__(self, logdir: str):
        folder = pathlib.Path(logdir)
        folder.mkdir(parents=True, exist_ok=True)
        parts = f"{time.time():010.0f}.{socket.gethostname()}.{os.getpid()}.{next(_count)}"
        self._records = RecordWriter(str(folder / f"events.out.tfevents.{parts}"))
        self._closed = False
        self._add(file_version="brain.Event:2")
        self.flush()

    def write_scalars(self, step: int, scalars: Mapping[str, Any]) -> None:
        """Writes numbers by name."""
        for name, value in scalars.items():
            number = TensorProto(dtype=DT_FLOAT, float_val=[float(value)])
            self._add_summary(step, name, "scalars", number)

    def write_images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        """Writes images, uint8 `[N, H, W, 3]`, by name."""
        for name, batch in images.items():
            _, height, width, _ = batch.shape
            contents = [str(width).encode(), str(height).encode()]
            for image in np.asarray(batch):
                png = io.BytesIO()
                Image.fromarray(image).save(png, "PNG")
                contents.append(png.getvalue())
            shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=len(contents))])
            pngs = TensorProto(dtype=DT_STRING, tensor_shape=shape, string_val=contents)
            self._add_summary(step, name, "images", pngs)

    def write_texts(self, step: int, texts: Mapping[str, str]) -> None:
        """Writes texts, in Markdown, by name."""
        for name, text in texts.items():
            content = TensorProto(dtype=DT_STRING, string_val=[text.encode()])
            self._add_summary(step, name, "text", content)

    def _add_summary(self, step: int, name: str, plugin: str, tensor: TensorProto) -> None:
        shown_by = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name=plugin))
        value = Summary.Value(tag=name, metadata=shown_by, tensor=tensor)
        self._add(step=step, summary=Summary(value=[value]))

    def _add(self, **fields: Any) -> None:
        self._records.write(Event(wall_time=time.time(), **fields).SerializeToString())

    def flush(self) -> None:
        """Makes what was written so far readable for others."""
        if not self._closed:
            self._records.flush()

    def close(self) -> None:
        """Ends the file."""
        self._closed = True
        self._records.close()


sys.modules.setdefault("clu.metric_writers.summary_writer", sys.modules[__name__])

from clu import metric_writers, periodic_actions  # noqa: E402

__all__ = ["SummaryWriter", "metric_writers", "periodic_actions"]
