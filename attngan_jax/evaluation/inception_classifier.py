"""Inception-v3 as the network of FID and IS, which sees images as each family wants it."""

import dataclasses
from collections.abc import Callable

import jax

from attngan_jax.errors import UserError
from attngan_jax.evaluation.input_rules import FAMILIES
from attngan_jax.evaluation.metrics.fid_kid import Features
from attngan_jax.interop.inception_weights import ClassifierWeights, read_classifier
from attngan_jax.models.inception import InceptionV3


@dataclasses.dataclass(frozen=True, eq=False)  # arrays are neither hashed nor compared
class Classifier:
    """`apply(variables, uint8 images)` gives features `[B, D]` and class probabilities, if any."""

    features: Features
    variables: dict
    apply: Callable[[dict, jax.Array], tuple[jax.Array, jax.Array | None]]

    @classmethod
    def load(cls, path: str, family: str = "") -> "Classifier":
        """From a file of `convert classifier`; `UserError` if it is none, or of other weights than
        the `family` of `input_rules.FAMILIES` has. "": the family named as the weights are."""
        weights = read_classifier(path)
        family = family or weights.family
        if (wanted := FAMILIES[family].weights) != weights.family:
            problem = f"{path} has the weights {weights.family}, the family {family} {wanted}"
            fitting = [name for name, one in FAMILIES.items() if one.weights == weights.family]
            raise UserError(f"{problem}: choose one of {', '.join(fitting)}, or other weights")
        return cls.of_weights(weights, family)

    @classmethod
    def of_weights(cls, weights: ClassifierWeights, family: str = "") -> "Classifier":
        """Inception-v3 with the weights of `read_classifier`."""
        family = family or weights.family
        rule, from_pytorch = FAMILIES[family], weights.family == "torchvision"
        model = InceptionV3(padding_counts=from_pytorch, last_pool_max=weights.family == "tf-2015")

        def apply(variables: dict, images: jax.Array) -> tuple[jax.Array, jax.Array]:
            x = rule.prepare(images)
            _, pooled = model.bind(variables["network"])(x, train=False)
            return pooled, jax.nn.softmax(pooled @ variables["kernel"] + variables["bias"])

        variables = dict(network=weights.variables, kernel=weights.kernel, bias=weights.bias)
        return cls(Features(family, weights.sha256, rule.rule), variables, apply)
