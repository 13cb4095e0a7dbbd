"""Generates an image with jax alone: python generate.py "a red bird" [SEED].

pip install jax flatbuffers
"""

import pathlib
import re
import sys

import jax.export
import numpy as np

folder = pathlib.Path(__file__).parent
model = jax.export.deserialize(bytearray((folder / "model.stablehlo").read_bytes()))
words = (folder / "vocabulary.txt").read_text(encoding="utf-8").split("\n")
(_, longest), _, (_, noise_size) = (x.shape for x in model.in_avals)
typed = re.findall(r"[\u3005-\u30ff\u3400-\u9fff]|\w+", sys.argv[1].lower())
known = [word for word in typed if word in words[1:]][:longest]
caption = np.zeros((1, longest), np.int32)
caption[0, : len(known)] = [words.index(word) for word in known]
noise = np.random.default_rng(int(sys.argv[2]) if len(sys.argv) > 2 else 0)
z = noise.standard_normal((1, noise_size), np.float32)
*_, image = model.call(caption, np.array([len(known)], np.int32), z)  # of the last stage
header = f"P6 {image.shape[2]} {image.shape[1]} 255\n".encode()
(folder / "image.ppm").write_bytes(header + np.asarray(image[0]).tobytes())
print(f"{folder / 'image.ppm'} is an image of: {' '.join(known)}")
