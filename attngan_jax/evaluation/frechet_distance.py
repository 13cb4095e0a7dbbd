"""Fréchet distance of two sets of features (Heusel et al., NeurIPS 2017): FID, in a named family.
"""

import numpy as np

from attngan_jax.evaluation.feature_statistics import Statistics, check_comparable


def frechet_distance(a: Statistics, b: Statistics) -> float:
    """The squared distance of the two Gaussians; `UserError` across families."""
    check_comparable(a, b)
    return gaussian_distance(a.mean, a.covariance, b.mean, b.covariance)


def gaussian_distance(mean_a, covariance_a, mean_b, covariance_b) -> float:
    """|mu_a - mu_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)), in float64.

    The eigenvalues of C_a C_b are those of the symmetric C_a^(1/2) C_b C_a^(1/2), so that no square
    root of a general matrix is needed, nor the small constant that others add to singular ones.
    """
    difference = np.asarray(mean_a, np.float64) - mean_b
    values, vectors = np.linalg.eigh(np.asarray(covariance_a, np.float64))
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    inner = root @ np.asarray(covariance_b, np.float64) @ root
    products = np.linalg.eigvalsh((inner + inner.T) / 2)
    trace = np.trace(covariance_a) + np.trace(covariance_b)
    trace -= 2.0 * np.sqrt(np.maximum(products, 0.0)).sum()
    return float(max(difference @ difference + trace, 0.0))
