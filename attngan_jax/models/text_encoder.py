"""Bidirectional recurrent text encoder (Sec. 3.2; `RNN_ENCODER`)."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from attngan_jax.models.batch_norm import Dtype


def embedding_init(key, shape, dtype=jnp.float32):
    """U(-0.1, 0.1), the released code's choice for embeddings and projections."""
    return jax.random.uniform(key, shape, dtype, -0.1, 0.1)


class Recurrence(nn.Module):
    """One direction of an LSTM or GRU with PyTorch's gates, order and two biases.

    Padded words leave the state as it is and give zeros, as packed sequences do. So the reverse
    direction, which meets the padding first, starts at the last word with a zero state.
    """

    features: int
    rnn_type: str
    reverse: bool = False
    forget_bias: float = 0.0
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, word_mask: jax.Array) -> tuple[jax.Array, jax.Array]:
        """`x [B, T, E]`, mask `[B, T]` -> outputs `[B, T, features]`, last state `[B, features]`."""
        F = self.features
        gates = {"lstm": 4, "gru": 3}[self.rnn_type]
        bound = F**-0.5  # PyTorch's default for all recurrent weights, which upstream keeps

        def init(key, shape, dtype):
            return jax.random.uniform(key, shape, dtype, -bound, bound)

        def bias_init(key, shape, dtype):
            bias = init(key, shape, dtype)
            return bias.at[F : 2 * F].add(self.forget_bias) if self.rnn_type == "lstm" else bias

        def weight(name, *shape, init=init):
            return self.param(name, init, shape, jnp.float32).astype(self.dtype)

        inputs = x @ weight("input_kernel", x.shape[-1], gates * F)
        inputs += weight("input_bias", gates * F, init=bias_init)
        recurrent_kernel = weight("recurrent_kernel", F, gates * F)
        recurrent_bias = weight("recurrent_bias", gates * F)
        cell = _lstm_cell if self.rnn_type == "lstm" else _gru_cell

        def step(state, scanned):
            inputs, is_word = scanned
            h = state[0]
            new = cell(inputs, h @ recurrent_kernel + recurrent_bias, state)
            state = tuple(jnp.where(is_word[:, None], n, s) for n, s in zip(new, state))
            return state, jnp.where(is_word[:, None], state[0], 0.0)

        # The state is float32 whatever the compute dtype: it sums up a whole sentence.
        zeros = jnp.zeros((x.shape[0], F), jnp.float32)
        state = (zeros, zeros) if self.rnn_type == "lstm" else (zeros,)
        scanned = (inputs.swapaxes(0, 1), word_mask.swapaxes(0, 1))
        state, outputs = jax.lax.scan(step, state, scanned, reverse=self.reverse)
        return outputs.swapaxes(0, 1), state[0]


def _lstm_cell(inputs, recurrent, state):
    i, f, g, o = jnp.split((inputs + recurrent).astype(jnp.float32), 4, axis=-1)
    c = nn.sigmoid(f) * state[1] + nn.sigmoid(i) * jnp.tanh(g)
    return nn.sigmoid(o) * jnp.tanh(c), c


def _gru_cell(inputs, recurrent, state):
    input_r, input_z, input_n = jnp.split(inputs.astype(jnp.float32), 3, axis=-1)
    r, z, n = jnp.split(recurrent.astype(jnp.float32), 3, axis=-1)
    r, z = nn.sigmoid(input_r + r), nn.sigmoid(input_z + z)
    n = jnp.tanh(input_n + r * n)
    return ((1.0 - z) * n + z * state[0],)


class TextEncoder(nn.Module):
    """Word features e and sentence feature of captions.

    Attributes:
      vocabulary_size: words with `<end>`. word_dim: of the embedding. embedding_dim: D.
      rnn_type: "lstm" or "gru".
      forget_bias: added to the LSTM's forget gates at the start. The released code has 0, with
        which a state halves at every word; 1 to 2 lets the sentence feature hear the far words
        early.
      sentence_pooling: the sentence feature is the "last" states (the released code), or the "mean"
        or "max" of the words' features, through which every word learns at once.
    """

    vocabulary_size: int
    word_dim: int
    embedding_dim: int
    rnn_type: str = "lstm"
    forget_bias: float = 0.0
    sentence_pooling: str = "last"
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, caption, word_mask, *, keep=None, dropout_rate: float = 0.0):
        """Encodes captions.

        Args:
          caption: int32 `[B, T]`, padded with 0. word_mask: bool `[B, T]`.
          keep: bool `[B, T, word_dim]`, dropout's mask in training (drawn outside, per example, so
            that it does not depend on the devices); None in evaluation.
          dropout_rate: the rate that `keep` was drawn with.

        Returns:
          words `[B, T, D]` (zeros at padding) and sentence `[B, D]`, float32.
        """
        x = nn.Embed(
            self.vocabulary_size,
            self.word_dim,
            embedding_init=embedding_init,
            dtype=self.dtype,
            name="embedding",
        )(caption)
        if keep is not None:
            x = jnp.where(keep, x / (1.0 - dropout_rate), 0.0)
        F = self.embedding_dim // 2
        outputs, last = zip(
            *(
                Recurrence(F, self.rnn_type, reverse, self.forget_bias, self.dtype, name=name)(
                    x, word_mask
                )
                for name, reverse in (("forward", False), ("backward", True))
            )
        )
        words = jnp.concatenate(outputs, axis=-1)
        if self.sentence_pooling == "last":
            return words, jnp.concatenate(last, axis=-1)
        if self.sentence_pooling == "mean":
            num_words = jnp.maximum(word_mask.sum(1, keepdims=True), 1)
            return words, words.sum(1) / num_words
        return words, jnp.where(word_mask[..., None], words, -1.0).max(1)
