"""How the families of Inception see an image: resizing, pools, the last layer."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from attngan_jax.errors import UserError
from attngan_jax.evaluation import inception_classifier
from attngan_jax.evaluation.inception_classifier import Classifier
from attngan_jax.evaluation.input_rules import FAMILIES, resize_pillow, resize_tensorflow_1
from attngan_jax.interop.inception_weights import ClassifierWeights
from attngan_jax.models.inception import InceptionV3, _pool


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


def random_weights(family, classes):
    key, images = jax.random.key(0), jnp.zeros((1, 299, 299, 3))
    shapes = jax.eval_shape(lambda: InceptionV3().init(key, images, train=False))
    rng, fixed = np.random.default_rng(0), {"var": 1.0, "scale": 1.0, "bias": 0.0, "mean": 0.0}

    def fill(path, leaf):
        if (name := path[-1].key) in fixed:
            return np.full(leaf.shape, fixed[name], np.float32)
        scale = (2 / np.prod(leaf.shape[:-1])) ** 0.5
        return (scale * rng.standard_normal(leaf.shape)).astype(np.float32)

    variables = jax.tree_util.tree_map_with_path(fill, shapes)
    kernel = 0.1 * rng.standard_normal((2048, classes)).astype(np.float32)
    return ClassifierWeights(family, variables, kernel, np.zeros(classes, np.float32), "0" * 64)


def test_families_differ_in_their_features():
    image = np.random.default_rng(1).integers(0, 256, (1, 64, 64, 3), dtype=np.uint8)
    features = {}
    for family in ("torchvision", "tf-2015", "cub-50"):
        classifier = Classifier.of_weights(random_weights(family, 50))
        pooled, probabilities = jax.jit(classifier.apply)(classifier.variables, image)
        assert pooled.shape == (1, 2048) and probabilities.shape == (1, 50)
        np.testing.assert_allclose(probabilities.sum(), 1.0, rtol=1e-5)
        assert classifier.features.family == family
        features[family] = np.asarray(pooled)
    for one, other in itertools.combinations(features, 2):
        assert np.abs(features[one] - features[other]).max() > 1e-3
