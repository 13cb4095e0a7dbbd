"""How the families of Inception see an image: resizing, pools, the last layer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from attngan_jax.errors import UserError
from attngan_jax.evaluation import inception_classifier
from attngan_jax.evaluation.inception_classifier import Classifier
from attngan_jax.evaluation.input_rules import FAMILIES, resize_pillow, resize_tensorflow_1
from attngan_jax.evaluation.metrics import fid_kid
from attngan_jax.evaluation.metrics.inception_score import InceptionScore
from attngan_jax.interop import write_safetensors
from attngan_jax.interop.inception_weights import (
    ClassifierWeights,
    convert_classifier,
    read_classifier,
)
from attngan_jax.interop.name_tables import inception_rows, layer
from attngan_jax.models.inception import _pool
from benchmarks import inception_in_pytorch as pytorch


def test_tensorflow_1_resizes_from_the_corner():
    row = jnp.array([0.0, 10.0, 20.0, 30.0])
    image = jnp.broadcast_to(row[None, None, :, None], (1, 4, 4, 1))
    wanted = [0.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 30.0]  # at 0, .5, 1 ...; not at -.25, .25 ...
    np.testing.assert_allclose(resize_tensorflow_1(image, 8)[0, 0, :, 0], wanted)
    np.testing.assert_allclose(resize_tensorflow_1(image.swapaxes(1, 2), 8)[0, :, 0, 0], wanted)


@pytest.mark.parametrize("size", [7, 64, 256, 299, 512])
def test_pillows_filter_bit_by_bit(size):
    """Enlarging and reducing, where the triangle is wider."""
    images = np.random.default_rng(size).integers(0, 256, (2, size, size, 3), dtype=np.uint8)
    shape, rule = (299, 299), Image.Resampling.BILINEAR
    wanted = [np.asarray(Image.fromarray(image).resize(shape, rule)) for image in images]
    np.testing.assert_array_equal(resize_pillow(images, 299), wanted)


def test_black_and_white_as_each_family_feeds_them():
    ends = np.stack([np.zeros((64, 64, 3), np.uint8), np.full((64, 64, 3), 255, np.uint8)])
    wanted = dict.fromkeys(FAMILIES, ((-1,) * 3, (1,) * 3))
    wanted["torchvision-dmgan"] = ((-0.030, -0.088, -0.188), (0.428, 0.360, 0.262))
    for family in ("tf-2015", "tf-2015-dmgan"):
        wanted[family] = ((-1,) * 3, (0.9921875,) * 3)
    for family, (black, white) in wanted.items():
        x = FAMILIES[family].prepare(jnp.asarray(ends))
        assert x.shape == (2, 299, 299, 3) and x.dtype == jnp.float32
        np.testing.assert_allclose(x[0, 150, 150], black, atol=1e-6, err_msg=family)
        np.testing.assert_allclose(x[1, 150, 150], white, atol=1e-6, err_msg=family)


def test_a_family_is_of_its_own_weights(monkeypatch):
    weights = ClassifierWeights("torchvision", {}, np.ones((2048, 2)), np.ones(2), "0" * 64)
    monkeypatch.setattr(inception_classifier, "read_classifier", lambda path: weights)
    assert Classifier.load("file").features.family == "torchvision"
    features = Classifier.load("file", "torchvision-dmgan").features
    assert features.family == "torchvision-dmgan" and "normalize_input" in features.resize
    with pytest.raises(UserError, match="file has the weights torchvision, .* torchvision-dmgan"):
        Classifier.load("file", "tf-2015")


def test_padding_of_the_average_pool():
    ones = jnp.ones((1, 3, 3, 1))
    assert _pool("average", ones)[0, 0, 0, 0] == pytest.approx(4 / 9)  # PyTorch
    assert _pool("average", ones, False)[0, 0, 0, 0] == pytest.approx(1.0)  # TensorFlow
    peak = jnp.zeros((1, 3, 3, 1)).at[0, 1, 1, 0].set(5.0)
    assert (_pool("same_max", peak) == 5.0).all()


# Recorded by benchmarks/inception_in_pytorch.py, PyTorch 2.14.1 on a CPU, of two seeded images.
FEATURES = [
    [7.087914, 0.475931, 0.127067, 3.207907, 3.598961, 0.152078, 0.307904, 0.896723, 7.872438]
    + [7.049656, 0.0],
    [8.81371, 0.123109, 0.124409, 3.835317, 4.930564, 0.196292, 0.596379, 1.088802, 8.96429]
    + [8.526966, 0.0],
]
MEANS = [1.592299, 1.946111]
LOGITS = [
    [-4.037638, -4.879771, 2.754462, -1.776426, -0.05713],
    [-4.067095, -5.546721, 3.823986, -2.531165, -0.342603],
]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Seeded ones under the names of pytorch-fid's file, as `convert classifier` reads them."""
    rows = inception_rows() + layer("fc", "fc", (1008, 2048), bias=True)
    seeded = pytorch.seeded_weights({row.pt: row.shape for row in rows if row.flax})
    folder = tmp_path_factory.mktemp("weights")
    write_safetensors(folder / "pt_inception.safetensors", seeded)
    out = folder / "tf-2015.safetensors"
    assert convert_classifier(folder / "pt_inception.safetensors", out) == "tf-2015"
    return read_classifier(out)


# Recorded by benchmarks/agreement.py on four seeded images and the next four: pytorch-fid 0.3.0 and
# torch-fidelity 0.4.0, PyTorch 2.14.1 on a CPU.
PYTORCH_FID = 825.619745
TORCH_FIDELITY = {"fid": 812.257240, "kid": 76.723206, "inception_score": 1.05645776}


def two_fours(classifier):
    """Features and probabilities of eight seeded images, and the statistics of either four."""
    images = pytorch.seeded_images(8)
    outputs = jax.jit(classifier.apply)(classifier.variables, images)
    features, probabilities = (np.asarray(array) for array in outputs)
    statistics = []
    for rows in (features[:4], features[4:]):
        sums = fid_kid.Accumulator(classifier.features, 4, keep=4)
        sums.add(rows)
        statistics.append(sums.result())
    return features, probabilities, statistics


def test_features_and_logits_are_pytorchs_and_the_fid_pytorch_fids(weights):
    """Average pools without the padding, the last block's maximum, no bias in the logits."""
    classifier = Classifier.of_weights(weights, "tf-2015-pytorch-fid")
    found, probabilities, statistics = two_fours(classifier)
    close = dict(rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found[:2, list(pytorch.INDICES)], FEATURES, **close)
    np.testing.assert_allclose(found[:2].mean(1), MEANS, rtol=1e-4)
    logits = np.log(np.asarray(probabilities[:2], np.float64))[:, list(pytorch.LOGITS)]
    wanted = np.array(LOGITS)
    np.testing.assert_allclose(logits - logits[:, :1], wanted - wanted[:, :1], atol=2e-3)
    assert fid_kid.distances(*statistics)[0] == pytest.approx(PYTORCH_FID, rel=1e-4)


def test_fid_kid_and_inception_score_are_torch_fidelitys(weights):
    """Its input rule is TensorFlow 1's."""
    _, probabilities, statistics = two_fours(Classifier.of_weights(weights, "tf-2015"))
    fid, kid = fid_kid.distances(*statistics)
    score = InceptionScore(4, 1, 0)
    score.add(probabilities[:4])
    found = {"fid": fid, "kid": kid["value"], "inception_score": score.result()["mean"]}
    assert found == pytest.approx(TORCH_FIDELITY, rel=1e-4)


def test_torchvisions_pools_make_other_features(weights):
    classifier = Classifier.of_weights(weights._replace(family="torchvision"))
    image = pytorch.seeded_images(1)
    features = np.asarray(jax.jit(classifier.apply)(classifier.variables, image)[0])
    assert np.abs(features[0, list(pytorch.INDICES)] - FEATURES[0]).max() > 1e-2
