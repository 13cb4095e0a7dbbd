"""AttnGAN's networks in PyTorch, as a good PyTorch program has them.

Written for the comparison from the layers of the paper and of the released code. The names of the
parameters are the released code's, so that its recorded vectors check that the work is the same
(`torch_check.py`). Layouts are PyTorch's: images `[B, C, H, W]`, words `[B, D, T]`.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn


class Widths(NamedTuple):
    """The dimensions of configs/cub.py."""

    gf_dim: int = 32
    df_dim: int = 64
    z_dim: int = 100
    condition_dim: int = 100
    residual_blocks: int = 2
    embedding_dim: int = 256
    words: int = 18
    word_dim: int = 300
    vocabulary: int = 5450


def conv(inputs: int, outputs: int, size: int = 3, stride: int = 1) -> nn.Conv2d:
    """Without bias, padded by 1."""
    return nn.Conv2d(inputs, outputs, size, stride, padding=1, bias=False)


def up_block(inputs: int, outputs: int) -> nn.Sequential:
    """Doubles the resolution."""
    upsample = nn.Upsample(scale_factor=2, mode="nearest")
    norm = nn.BatchNorm2d(2 * outputs)
    return nn.Sequential(upsample, conv(inputs, 2 * outputs), norm, nn.GLU(1))


def down_block(inputs: int, outputs: int, size: int = 4, stride: int = 2) -> nn.Sequential:
    """Halves the resolution, or keeps it with a kernel of 3 and a stride of 1."""
    norm = nn.BatchNorm2d(outputs)
    return nn.Sequential(conv(inputs, outputs, size, stride), norm, nn.LeakyReLU(0.2, True))


class ConditioningAugmentation(nn.Module):
    """F^ca."""

    def __init__(self, w: Widths):
        super().__init__()
        self.fc = nn.Linear(w.embedding_dim, 4 * w.condition_dim)

    def forward(self, sentence, noise):
        """Condition, mean and logarithm of the variance."""
        mean, log_variance = F.glu(self.fc(sentence), 1).float().chunk(2, 1)
        return mean + noise * torch.exp(0.5 * log_variance), mean, log_variance


class InitialStage(nn.Module):
    """F_0: 64 x 64 features."""

    def __init__(self, w: Widths):
        super().__init__()
        self.width = 16 * w.gf_dim
        first = 2 * self.width * 4 * 4
        dense = nn.Linear(w.condition_dim + w.z_dim, first, bias=False)
        self.fc = nn.Sequential(dense, nn.BatchNorm1d(first), nn.GLU(1))
        for i in range(4):
            block = up_block(self.width >> i, self.width >> (i + 1))
            self.add_module(f"upsample{i + 1}", block)

    def forward(self, condition, z):
        """`[B, gf_dim, 64, 64]`."""
        h = self.fc(torch.cat([condition, z], 1)).view(-1, self.width, 4, 4)
        return self.upsample4(self.upsample3(self.upsample2(self.upsample1(h))))


class WordAttention(nn.Module):
    """F^attn: which words does each pixel look at?"""

    def __init__(self, w: Widths):
        super().__init__()
        self.conv_context = nn.Conv2d(w.embedding_dim, w.gf_dim, 1, bias=False)

    def forward(self, hidden, words, padding):
        """Contexts, like `hidden`; `padding` bool `[B, T]` is True where no word is."""
        projected = self.conv_context(words[..., None])[..., 0]  # [B, C, T]
        scores = hidden.flatten(2).transpose(1, 2) @ projected  # [B, HW, T]
        attention = scores.masked_fill(padding[:, None], -torch.inf).softmax(-1)
        context = projected @ attention.transpose(1, 2).to(projected.dtype)
        return context.view(hidden.shape)


class ResidualBlock(nn.Module):
    """Keeps the width."""

    def __init__(self, width: int):
        super().__init__()
        first = conv(width, 2 * width), nn.BatchNorm2d(2 * width), nn.GLU(1)
        self.block = nn.Sequential(*first, conv(width, width), nn.BatchNorm2d(width))

    def forward(self, x):
        """Of the same shape."""
        return x + self.block(x)


class RefinementStage(nn.Module):
    """F_i, i > 0."""

    def __init__(self, w: Widths):
        super().__init__()
        self.att = WordAttention(w)
        blocks = [ResidualBlock(2 * w.gf_dim) for _ in range(w.residual_blocks)]
        self.residual = nn.Sequential(*blocks)
        self.upsample = up_block(2 * w.gf_dim, w.gf_dim)

    def forward(self, hidden, words, padding):
        """Features of twice the side."""
        context = self.att(hidden, words, padding)
        return self.upsample(self.residual(torch.cat([hidden, context], 1)))


class ImageHead(nn.Module):
    """G_i."""

    def __init__(self, w: Widths):
        super().__init__()
        self.img = nn.Sequential(conv(w.gf_dim, 3), nn.Tanh())

    def forward(self, hidden):
        """`[B, 3, S, S]` in [-1, 1]."""
        return self.img(hidden)


class Generator(nn.Module):
    """Three stages of 64, 128 and 256 pixels."""

    def __init__(self, w: Widths):
        super().__init__()
        self.ca_net = ConditioningAugmentation(w)
        self.h_net1, self.img_net1 = InitialStage(w), ImageHead(w)
        self.h_net2, self.img_net2 = RefinementStage(w), ImageHead(w)
        self.h_net3, self.img_net3 = RefinementStage(w), ImageHead(w)

    def forward(self, z, noise, sentence, words, padding):
        """Images, mean and logarithm of the variance."""
        condition, mean, log_variance = self.ca_net(sentence, noise)
        h1 = self.h_net1(condition, z)
        h2 = self.h_net2(h1, words, padding)
        h3 = self.h_net3(h2, words, padding)
        images = self.img_net1(h1), self.img_net2(h2), self.img_net3(h3)
        return images, mean, log_variance


class Head(nn.Module):
    """Logits of features, with or without a sentence."""

    def __init__(self, w: Widths, conditional: bool):
        super().__init__()
        width = 8 * w.df_dim
        if conditional:
            self.jointConv = down_block(width + w.embedding_dim, width, 3, 1)
        self.outlogits = nn.Sequential(nn.Conv2d(width, 1, 4, 4))

    def forward(self, features, sentence=None):
        """Logits `[B]`."""
        if sentence is not None:
            spread = sentence[:, :, None, None].expand(-1, -1, 4, 4).to(features.dtype)
            features = self.jointConv(torch.cat([features, spread], 1))
        return self.outlogits(features).flatten().float()


class Discriminator(nn.Module):
    """Of images of 64, 128 or 256 pixels."""

    def __init__(self, w: Widths, size: int):
        super().__init__()
        d = w.df_dim
        stem = conv(3, d, 4, 2), nn.LeakyReLU(0.2, True)
        downs = [layer for i in range(3) for layer in down_block(d << i, d << (i + 1))]
        self.img_code_s16 = nn.Sequential(*stem, *downs)
        if size >= 128:
            self.img_code_s32 = down_block(8 * d, 16 * d)
        if size == 128:
            self.img_code_s32_1 = down_block(16 * d, 8 * d, 3, 1)
        if size == 256:
            self.img_code_s64 = down_block(16 * d, 32 * d)
            self.img_code_s64_1 = down_block(32 * d, 16 * d, 3, 1)
            self.img_code_s64_2 = down_block(16 * d, 8 * d, 3, 1)
        self.UNCOND_DNET, self.COND_DNET = Head(w, False), Head(w, True)

    def forward(self, images):
        """Features `[B, 8 df_dim, 4, 4]`."""
        for name, module in self.named_children():
            if name.startswith("img_code"):
                images = module(images)
        return images


class TextEncoder(nn.Module):
    """A bidirectional LSTM; all captions have `w.words` words."""

    def __init__(self, w: Widths):
        super().__init__()
        self.encoder = nn.Embedding(w.vocabulary, w.word_dim)
        half = w.embedding_dim // 2
        self.rnn = nn.LSTM(w.word_dim, half, batch_first=True, bidirectional=True)

    def forward(self, captions):
        """Words `[B, D, T]` and sentence `[B, D]`."""
        words, (last, _) = self.rnn(F.dropout(self.encoder(captions), 0.5, self.training))
        return words.transpose(1, 2), last.transpose(0, 1).flatten(1)
