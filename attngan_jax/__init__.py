"""AttnGAN and its image-text matching model DAMSM in JAX, Flax and Optax.

Xu et al., "AttnGAN: Fine-Grained Text to Image Generation with Attentional Generative
Adversarial Networks", CVPR 2018 (https://arxiv.org/abs/1711.10485).

Axis letters, used in every docstring and einsum of the package:

    B  images (or examples) of a batch     T  words of a caption
    M  captions scored against images      D  joint embedding of words and regions
    R  regions of an image (or N, pixels)  H, W, C  height, width, channels (NHWC)
    Z  noise                               A  attributes of a procedural bird

A trained model in three lines:

    model = attngan_jax.load("procedural-birds")  # or a workdir, or a saved model's folder
    out = model.generate(["a red bird with black wings"], seed=0)
    out.images  # uint8 [N, H, W, 3]; also out.stages and out.attention

`model.embed_text`, `model.embed_images` and `model.similarity` are DAMSM's; `model.save(FOLDER)`
writes what can be handed on. To train: `python -m attngan_jax.main --config procedural_birds`, and
`python -m attngan_jax` lists the other commands.
"""

import os
import sys
from typing import TYPE_CHECKING

if sys.version_info < (3, 11):  # noqa: UP036 - from a clone it may be an older one
    _PROBLEM = "attngan_jax needs Python 3.11 or later, and this is {}.{}: start it with another"
    raise SystemExit("error: " + _PROBLEM.format(*sys.version_info))

if TYPE_CHECKING:
    from attngan_jax.sampling.model import Model

# Before anything imports etils or fsspec: addresses in buckets (gs://) go through gcsfs and not
# through TensorFlow, as plain objects; what other processes write is seen at once.
os.environ.setdefault("EPATH_USE_TF", "false")
os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
os.environ.setdefault("FSSPEC_GCS", '{"use_listings_cache": false}')

# Without them libtpu looks for a TPU, says at length that there is none, and locks out the next.
WITHOUT_TPU = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-8",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}

__all__ = ["load"]
__version__ = "0.1.0"


def load(path_or_name: "str | os.PathLike[str]") -> "Model":
    """A trained model, to generate images from captions.

    Args:
      path_or_name: the folder (or `gs://` address) of a run or of a saved model, the name of a
        model that comes with this package, such as "procedural-birds", or "cub-published": the
        birds of the paper's authors, which are fetched when they are first asked for.

    Raises `attngan_jax.errors.UserError`, whose text says what to do, where there is none.
    """
    # Here, so that importing the package is quick.
    from attngan_jax.conversion.published import find_or_fetch
    from attngan_jax.sampling.model import Model

    return Model(find_or_fetch(path_or_name))
