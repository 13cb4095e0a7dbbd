"""AttnGAN and its image-text matching model DAMSM in JAX, Flax and Optax.

Xu et al., "AttnGAN: Fine-Grained Text to Image Generation with Attentional Generative
Adversarial Networks", CVPR 2018 (https://arxiv.org/abs/1711.10485).

Axis letters, used in every docstring and einsum of the package:

    B  images (or examples) of a batch     T  words of a caption
    M  captions scored against images      D  joint embedding of words and regions
    R  regions of an image (or N, pixels)  H, W, C  height, width, channels (NHWC)
    Z  noise                               A  attributes of a procedural bird
"""

import os

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

__version__ = "0.1.0"
