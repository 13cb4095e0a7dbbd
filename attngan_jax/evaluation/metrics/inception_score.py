"""Inception Score (Salimans et al., NeurIPS 2016), from a classifier's probabilities."""

import numpy as np

# TISE (Dinh et al., ECCV 2022): IS* divides the logits by these, which calibrate each classifier,
# by its weights; as in the code that TISE's authors released.
TEMPERATURES = {"cub-50": 0.5980541706085205, "tf-2015": 0.9091363549232483}


class InceptionScore:
    """exp of the mean of KL(p(y | image) || p(y)), over splits of the images.

    Keeps sums alone. The seed deals the images to the splits at random, as the released code does:
    the pairs come ordered by class.
    """

    def __init__(self, num_images: int, num_splits: int, seed: int):
        if num_images < num_splits:
            raise ValueError(f"{num_images} images do not fill {num_splits} splits")
        order = np.random.default_rng((seed, num_images)).permutation(num_images)
        self._split_of = order * num_splits // num_images
        self._seen = 0
        self._counts = np.bincount(self._split_of, minlength=num_splits)
        self._negative_entropy = np.zeros(num_splits)
        self._sums: np.ndarray | None = None  # of the probabilities, `[splits, classes]`

    def add(self, probabilities: np.ndarray, temperature: float = 1.0) -> None:
        """Takes in the next images' probabilities `[B, classes]`.

        With a temperature they become those of the logits divided by it: p^(1/T), normalised.
        """
        p = np.asarray(probabilities, np.float64)
        if temperature != 1.0:
            p = p ** (1.0 / temperature)
            p /= p.sum(1, keepdims=True)
        if self._sums is None:
            self._sums = np.zeros((len(self._counts), p.shape[1]))
        splits = self._split_of[self._seen : self._seen + len(p)]
        self._seen += len(p)
        np.add.at(self._sums, splits, p)
        np.add.at(self._negative_entropy, splits, _p_log_p(p).sum(1))

    def result(self) -> dict:
        """`mean` and `std` over the splits, `splits` and `num_images`."""
        if self._sums is None or self._seen != len(self._split_of):
            raise ValueError(f"{self._seen} of {len(self._split_of)} images were added")
        marginal = self._sums / self._counts[:, None]
        scores = np.exp(self._negative_entropy / self._counts - _p_log_p(marginal).sum(1))
        mean, std = float(scores.mean()), float(scores.std())
        return {"mean": mean, "std": std, "splits": len(scores), "num_images": self._seen}


def _p_log_p(p: np.ndarray) -> np.ndarray:
    return p * np.log(np.maximum(p, np.finfo(np.float64).tiny))
