"""The original's networks once more, from its state_dict, operation by operation.

Nothing of the package is used: images stay `[B, C, H, W]`, upsampling makes the large image, and
BatchNorm is written out. For widths at which nothing was recorded.
"""

import jax
import jax.numpy as jnp
import numpy as np


def conv(x, kernel):
    """3x3 convolution with padding 1, no bias."""
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), ((1, 1), (1, 1)), dimension_numbers=("NCHW", "OIHW", "NCHW")
    )


def norm(x, weights, name):
    """BatchNorm with running statistics over axis 1."""
    shape = (1, -1) + (1,) * (x.ndim - 2)
    mean, var, scale, bias = (
        weights[f"{name}.{part}"].reshape(shape)
        for part in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / jnp.sqrt(var + 1e-5) * scale + bias


def glu(x):
    half = x.shape[1] // 2
    return x[:, :half] / (1 + jnp.exp(-x[:, half:]))


def up_block(x, weights, name):
    large = x.repeat(2, axis=2).repeat(2, axis=3)
    return glu(norm(conv(large, weights[f"{name}.1.weight"]), weights, f"{name}.2"))


def residual(x, weights, name):
    h = glu(norm(conv(x, weights[f"{name}.0.weight"]), weights, f"{name}.1"))
    return x + norm(conv(h, weights[f"{name}.3.weight"]), weights, f"{name}.4")


def generator(weights, z, noise, sentence, words, word_mask, *, num_stages, base_size, residuals):
    """`G_NET`, words `[B, D, T]`: the images `[B, 3, S, S]`, and the maps `[B, T, H, W]`."""
    x = glu(sentence @ weights["ca_net.fc.weight"].T + weights["ca_net.fc.bias"])
    half = x.shape[1] // 2
    condition = x[:, :half] + noise * jnp.exp(0.5 * x[:, half:])
    h = jnp.concatenate([condition, z], 1) @ weights["h_net1.fc.0.weight"].T
    h = glu(norm(h, weights, "h_net1.fc.1"))
    h = h.reshape(len(h), -1, 4, 4)
    for i in range((base_size // 4).bit_length() - 1):
        h = up_block(h, weights, f"h_net1.upsample{i + 1}")
    images, maps = [jnp.tanh(conv(h, weights["img_net1.img.0.weight"]))], []
    for stage in range(2, num_stages + 1):
        name = f"h_net{stage}"
        source = jnp.einsum(
            "cd,bdt->bct", weights[f"{name}.att.conv_context.weight"][..., 0, 0], words
        )
        scores = jnp.einsum("bchw,bct->bthw", h, source)
        scores = jnp.where(word_mask[:, :, None, None], scores, -jnp.inf)
        exponent = jnp.exp(scores - scores.max(1, keepdims=True))
        attention = exponent / exponent.sum(1, keepdims=True)
        h = jnp.concatenate([h, jnp.einsum("bct,bthw->bchw", source, attention)], 1)
        for i in range(residuals):
            h = residual(h, weights, f"{name}.residual.{i}.block")
        h = up_block(h, weights, f"{name}.upsample")
        images.append(jnp.tanh(conv(h, weights[f"img_net{stage}.img.0.weight"])))
        maps.append(attention)
    return images, maps


def lstm(weights, caption, lengths):
    """`RNN_ENCODER`: words `[B, D, T]` and sentence `[B, D]`, one word of one caption at a time."""

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    B, T = caption.shape
    F = weights["rnn.weight_hh_l0"].shape[1]
    words, sentence = np.zeros((B, 2 * F, T)), np.zeros((B, 2 * F))
    for first, end in ((0, ""), (F, "_reverse")):
        w_in, w_state, b_in, b_state = (
            weights[f"rnn.{part}_l0{end}"].astype(np.float64)
            for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        for b in range(B):
            h, c = np.zeros(F), np.zeros(F)
            order = range(lengths[b])
            for t in reversed(order) if end else order:
                x = weights["encoder.weight"][caption[b, t]]
                i, f, g, o = np.split(w_in @ x + b_in + w_state @ h + b_state, 4)
                c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
                h = sigmoid(o) * np.tanh(c)
                words[b, first : first + F, t] = h
            sentence[b, first : first + F] = h
    return words, sentence
