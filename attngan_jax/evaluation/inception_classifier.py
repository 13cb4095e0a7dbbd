"""Inception-v3 as the judge of IS and FID, as each family of weights wants its images."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from attngan_jax.evaluation.metrics.feature_statistics import Features
from attngan_jax.interop.inception_weights import ClassifierWeights, read_classifier
from attngan_jax.models.inception import INPUT_SIZE, InceptionV3, resize

RESIZE = {
    "torchvision": "bilinear interpolation to 299 without antialiasing, values in [-1, 1]",
    "tf-2015": (
        "bilinear interpolation to 299 with TensorFlow 1's corner alignment of pixels, "
        "values (x - 128) / 128"
    ),
    "cub-50": "bilinear interpolation to 299 without antialiasing, values in [-1, 1]",
}
FID_FAMILIES = ("torchvision", "tf-2015")


@dataclasses.dataclass(frozen=True, eq=False)  # arrays are neither hashed nor compared
class Classifier:
    """Weights and what is done with them.

    Attributes:
      variables: of the network, with `kernel` `[2048, classes]` and `bias` `[classes]` of the last
        layer.
    """

    features: Features
    model: InceptionV3
    variables: dict

    @classmethod
    def load(cls, path: str) -> "Classifier":
        """From a file of `convert classifier`; `UserError` if it is none."""
        return cls.of_weights(read_classifier(path))

    @classmethod
    def of_weights(cls, weights: ClassifierWeights) -> "Classifier":
        """See `read_classifier`."""
        theirs = weights.family != "torchvision"
        model = InceptionV3(padding_counts=not theirs, last_pool_max=weights.family == "tf-2015")
        return cls(
            Features(weights.family, weights.sha256, RESIZE[weights.family]),
            model,
            {"network": weights.variables, "kernel": weights.kernel, "bias": weights.bias},
        )

    def __call__(self, variables: dict, images: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Pooled features `[B, 2048]` and probabilities `[B, classes]` of uint8 images."""
        if self.features.family == "tf-2015":
            x = (resize_tensorflow_1(images.astype(jnp.float32), INPUT_SIZE) - 128.0) / 128.0
        else:
            x = resize(images.astype(jnp.float32) / 127.5 - 1.0, INPUT_SIZE)
        _, pooled = self.model.apply(variables["network"], x, train=False)
        return pooled, jax.nn.softmax(pooled @ variables["kernel"] + variables["bias"])


def resize_tensorflow_1(images: jax.Array, size: int) -> jax.Array:
    """`tf.image.resize_bilinear` of TensorFlow 1: pixel i is at i * scale, not at its middle.

    `[B, S, S, C] -> [B, size, size, C]`; the 2015 graph resizes so, and its features feel it.
    """
    S = images.shape[1]
    if S == size:
        return images
    place = np.arange(size, dtype=np.float32) * np.float32(S / size)
    lower = np.minimum(place.astype(int), S - 1)
    upper, share = np.minimum(lower + 1, S - 1), place - lower
    share = jnp.asarray(share)
    rows = images[:, lower] * (1.0 - share)[:, None, None] + images[:, upper] * share[:, None, None]
    return rows[:, :, lower] * (1.0 - share)[:, None] + rows[:, :, upper] * share[:, None]
