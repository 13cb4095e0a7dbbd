"""Text encoders: word features and sentence feature of captions (Sec. 3.2; `RNN_ENCODER`)."""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from attngan_jax.models.layers import Dtype, embedding_init


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
        """`x [B, T, E]`, mask `[B, T]` -> outputs `[B, T, features]`, last `[B, features]`."""
        F, is_lstm = self.features, self.rnn_type == "lstm"
        gates, cell = (4, _lstm_cell) if is_lstm else (3, _gru_cell)

        def uniform(key, shape, dtype):  # PyTorch's default for all recurrent weights
            return jax.random.uniform(key, shape, dtype, -(F**-0.5), F**-0.5)

        def with_forget_bias(key, shape, dtype):
            bias = uniform(key, shape, dtype)
            return bias.at[F : 2 * F].add(self.forget_bias) if is_lstm else bias

        def weight(name, *shape, init=uniform):
            return self.param(name, init, shape, jnp.float32).astype(self.dtype)

        # The share of the inputs for all words at once; the loop has only the recurrent product.
        inputs = x @ weight("input_kernel", x.shape[-1], gates * F)  # [B, T, gates F]
        inputs += weight("input_bias", gates * F, init=with_forget_bias)
        recurrent_kernel = weight("recurrent_kernel", F, gates * F)
        recurrent_bias = weight("recurrent_bias", gates * F)

        def step(state, scanned):
            inputs, is_word = scanned
            new = cell(inputs, state[0] @ recurrent_kernel + recurrent_bias, state)
            # At padding the old state stays.
            state = tuple(jnp.where(is_word[:, None], n, s) for n, s in zip(new, state))
            return state, jnp.where(is_word[:, None], state[0], 0.0)

        # The state is float32 whatever the compute dtype: it sums up a whole sentence.
        zeros = jnp.zeros((x.shape[0], F), jnp.float32)
        state = (zeros, zeros) if is_lstm else (zeros,)
        scanned = (inputs.swapaxes(0, 1), word_mask.swapaxes(0, 1))  # word by word: [T, B, ...]
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
    n = jnp.tanh(input_n + r * n)  # the reset gate acts after the product, as in PyTorch
    return ((1.0 - z) * n + z * state[0],)


class TextEncoder(nn.Module):
    """Word features e and sentence feature of captions, by a bidirectional LSTM or GRU.

    Attributes:
      vocabulary_size: words with `<end>`. word_dim: of the embedding. embedding_dim: D.
      rnn_type: "lstm" or "gru".
      forget_bias: added to the LSTM's forget gates at the start. The released code has 0, with
        which a state halves at every word; with 1 to 2 the sentence feature depends on the far
        words early in training.
      embedding_limit: the word embedding starts from U(-limit, limit). The released code has 0.1,
        with which all sentences start nearly alike: the LSTM sees little of its words.
      sentence_pooling: the sentence feature is the "last" states (the released code), or the "mean"
        or "max" of the word features, through which every word has a gradient at once.
      dropout_rate: of the word embedding, in training.
    """

    vocabulary_size: int
    word_dim: int
    embedding_dim: int
    rnn_type: str = "lstm"
    forget_bias: float = 0.0
    embedding_limit: float = 0.1
    sentence_pooling: str = "last"
    dtype: Dtype = jnp.float32
    dropout_rate: float = 0.0

    @nn.compact
    def __call__(self, caption, word_mask, *, dropout_keys=None):
        """Encodes captions.

        Args:
          caption: int32 `[B, T]`, padded with 0. word_mask: bool `[B, T]`.
          dropout_keys: `[B]`, in training, a random key for each example. `nn.Dropout` would draw
            one mask for the batch, so that numbers would depend on how many devices share it.

        Returns:
          words `[B, T, D]` (zeros at padding) and sentence `[B, D]`, float32.
        """
        F = self.embedding_dim // 2
        init = functools.partial(embedding_init, limit=self.embedding_limit)
        embed = dict(embedding_init=init, dtype=self.dtype)
        x = nn.Embed(self.vocabulary_size, self.word_dim, **embed, name="embedding")(caption)
        if dropout_keys is not None:
            shape, kept = x.shape[1:], 1.0 - self.dropout_rate
            dropout_mask = jax.vmap(lambda k: jax.random.bernoulli(k, kept, shape))(dropout_keys)
            x = jnp.where(dropout_mask, x / kept, 0.0)

        def recurrence(name, reverse):
            module = Recurrence(F, self.rnn_type, reverse, self.forget_bias, self.dtype, name=name)
            return module(x, word_mask)

        outputs, last = zip(recurrence("forward", False), recurrence("backward", True))
        words = jnp.concatenate(outputs, axis=-1)
        if self.sentence_pooling == "last":
            return words, jnp.concatenate(last, axis=-1)
        if self.sentence_pooling == "mean":
            num_words = jnp.maximum(word_mask.sum(1, keepdims=True), 1)
            return words, words.sum(1) / num_words
        return words, jnp.where(word_mask[..., None], words, -1.0).max(1)  # features are in (-1, 1)


# By `config.text_encoder.rnn_type`. Another encoder is one module, with TextEncoder's `__call__`,
# and one entry here; an entry is called with TextEncoder's fields but rnn_type, all by name.
TEXT_ENCODERS: dict[str, Callable[..., nn.Module]] = {
    "lstm": functools.partial(TextEncoder, rnn_type="lstm"),
    "gru": functools.partial(TextEncoder, rnn_type="gru"),
}
