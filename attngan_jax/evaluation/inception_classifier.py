"""Inception-v3 as the network of FID and IS, which resizes as each family of weights wants it."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from attngan_jax.evaluation.metrics.fid_kid import Features
from attngan_jax.interop.inception_weights import ClassifierWeights, read_classifier
from attngan_jax.models.inception import INPUT_SIZE, InceptionV3, resize

RESIZE = {
    "torchvision": "bilinear interpolation to 299 without antialiasing, values in [-1, 1]",
    "tf-2015": "bilinear interpolation to 299 with TensorFlow 1's corner alignment of pixels, "
    "values (x - 128) / 128",
}
RESIZE["cub-50"] = RESIZE["torchvision"]
FID_FAMILIES = ("torchvision", "tf-2015")


@dataclasses.dataclass(frozen=True, eq=False)  # arrays are neither hashed nor compared
class Classifier:
    """`apply(variables, uint8 images)` gives features `[B, D]` and class probabilities, if any."""

    features: Features
    variables: dict
    apply: Callable[[dict, jax.Array], tuple[jax.Array, jax.Array | None]]

    @classmethod
    def load(cls, path: str) -> "Classifier":
        """From a file of `convert classifier`; `UserError` if it is none."""
        return cls.of_weights(read_classifier(path))

    @classmethod
    def of_weights(cls, weights: ClassifierWeights) -> "Classifier":
        """Inception-v3 with the weights of `read_classifier`."""
        family, from_pytorch = weights.family, weights.family == "torchvision"
        model = InceptionV3(padding_counts=from_pytorch, last_pool_max=family == "tf-2015")

        def apply(variables: dict, images: jax.Array) -> tuple[jax.Array, jax.Array]:
            if family == "tf-2015":
                x = (resize_tensorflow_1(images.astype(jnp.float32), INPUT_SIZE) - 128.0) / 128.0
            else:
                x = resize(images.astype(jnp.float32) / 127.5 - 1.0, INPUT_SIZE)
            _, pooled = model.bind(variables["network"])(x, train=False)
            return pooled, jax.nn.softmax(pooled @ variables["kernel"] + variables["bias"])

        variables = dict(network=weights.variables, kernel=weights.kernel, bias=weights.bias)
        return cls(Features(family, weights.sha256, RESIZE[family]), variables, apply)


def resize_tensorflow_1(images: jax.Array, size: int) -> jax.Array:
    """`tf.image.resize_bilinear` of TensorFlow 1: pixel i is at i * scale, not at its middle.

    `[B, S, S, C] -> [B, size, size, C]`; the 2015 graph resizes so, which shows in its features.
    """
    S = images.shape[1]
    if S == size:
        return images
    place = np.arange(size, dtype=np.float32) * np.float32(S / size)
    lower = np.minimum(place.astype(int), S - 1)
    upper, share = np.minimum(lower + 1, S - 1), jnp.asarray(place - lower)
    rows = images[:, lower] * (1.0 - share)[:, None, None] + images[:, upper] * share[:, None, None]
    return rows[:, :, lower] * (1.0 - share)[:, None] + rows[:, :, upper] * share[:, None]
