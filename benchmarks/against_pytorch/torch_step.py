"""AttnGAN's training step in PyTorch: losses, updates, and the ways to run it."""

from typing import NamedTuple

import torch
import torch.nn.functional as F

from benchmarks.against_pytorch.torch_inception import ImageEncoder
from benchmarks.against_pytorch.torch_networks import Discriminator, Generator, TextEncoder, Widths

SIZES = (64, 128, 256)
GAMMA1, GAMMA2, GAMMA3 = 4.0, 5.0, 10.0


class Way(NamedTuple):
    """How PyTorch runs the step."""

    device: str = "cpu"
    amp: bool = False  # bfloat16 by autocast
    compile: bool = False
    channels_last: bool = False


def word_scores(regions, words):
    """Every image with every caption: `[B, M]`, of regions `[B, D, R]` and words `[M, D, T]`.

    All at once; the released code has a loop over captions, which is slower.
    """
    s = torch.einsum("mdt,bdr->bmtr", words, regions)
    alpha = (GAMMA1 * s.softmax(2)).softmax(3)
    contexts = torch.einsum("bmtr,bdr->bmtd", alpha, regions)
    cosines = F.cosine_similarity(contexts, words.transpose(1, 2)[None], dim=-1, eps=1e-8)
    return torch.logsumexp(GAMMA2 * cosines, 2)


def matching_losses(regions, codes, words, sentences, classes):
    """L_DAMSM."""
    by_sentence = F.normalize(codes, eps=1e-8) @ F.normalize(sentences, eps=1e-8).T
    truth = torch.arange(len(classes), device=classes.device)
    same = (classes[:, None] == classes) & (truth[:, None] != truth)
    total = 0.0
    for scores in (word_scores(regions, words), by_sentence):
        scores = (GAMMA3 * scores).masked_fill(same, -1e9)
        total = total + F.cross_entropy(scores, truth) + F.cross_entropy(scores.T, truth)
    return total


def real_loss(logits):
    """Binary cross entropy with 1."""
    return F.softplus(-logits).mean()


def fake_loss(logits):
    """Binary cross entropy with 0."""
    return F.softplus(logits).mean()


def discriminator_loss(network, real, fake, sentence):
    """Eq. 5, with the mismatched pairs of the released code."""
    real, fake = network(real), network(fake)
    conditional, unconditional = network.COND_DNET, network.UNCOND_DNET
    of_real = real_loss(conditional(real, sentence))
    of_fake = fake_loss(conditional(fake, sentence))
    of_wrong = fake_loss(conditional(real[:-1], sentence[1:]))
    of_real = of_real + real_loss(unconditional(real))
    of_fake = of_fake + fake_loss(unconditional(fake))
    return of_real / 2 + (of_fake + of_wrong) / 3


def generator_loss(network, fake, sentence):
    """Eq. 4."""
    features = network(fake)
    conditional = network.COND_DNET(features, sentence)
    return real_loss(conditional) + real_loss(network.UNCOND_DNET(features))


def kl_loss(mean, log_variance):
    """Of conditioning augmentation."""
    return -0.5 * (1 + log_variance - mean**2 - log_variance.exp()).mean()


class Step:
    """One update of three discriminators, then of the generator, and its moving average."""

    def __init__(self, widths: Widths, way: Way):
        self.widths, self.way = widths, way
        with torch.device(way.device):
            self.generator = Generator(widths)
            self.discriminators = [Discriminator(widths, size) for size in SIZES]
            self.text_encoder = TextEncoder(widths).eval().requires_grad_(False)
            self.image_encoder = ImageEncoder(widths.embedding_dim).eval().requires_grad_(False)
        if way.channels_last:
            for network in (self.generator, *self.discriminators, self.image_encoder):
                network.to(memory_format=torch.channels_last)
        self.average = [p.detach().clone() for p in self.generator.parameters()]
        fused = way.compile or None

        def adam(network):
            return torch.optim.Adam(network.parameters(), 2e-4, (0.5, 0.999), fused=fused)

        self.generator_optimizer = adam(self.generator)
        self.optimizers = [adam(network) for network in self.discriminators]
        compiled = torch.compile if way.compile else lambda function: function
        self.generate = compiled(self._generate)
        self.discriminator_losses = [
            compiled(lambda *inputs, d=d: discriminator_loss(d, *inputs))
            for d in self.discriminators
        ]
        self.generator_losses = [
            compiled(lambda *inputs, d=d: generator_loss(d, *inputs)) for d in self.discriminators
        ]
        self.damsm_loss = compiled(self._damsm_loss)

    def _generate(self, *inputs):
        return self.generator(*inputs)

    def _damsm_loss(self, images, words, sentence, classes):
        regions, codes = self.image_encoder(images)
        with torch.autocast(self.way.device, enabled=False):
            return 5.0 * matching_losses(regions, codes, words, sentence, classes)

    def autocast(self):
        """Of forward passes."""
        return torch.autocast(self.way.device, torch.bfloat16, enabled=self.way.amp)

    def noise(self, batch: int):
        """z, and conditioning augmentation's epsilon."""
        dims = self.widths.z_dim, self.widths.condition_dim
        return [torch.randn(batch, dim, device=self.way.device) for dim in dims]

    def __call__(self, batch):
        """Losses of the three discriminators, of the generator without KL, and KL."""
        with torch.no_grad():
            words, sentence = self.text_encoder(batch["caption"])
        return self.update(batch, words, sentence, *self.noise(len(sentence)))

    def update(self, batch, words, sentence, z, noise):
        """The same, from the features of the captions."""
        padding = torch.zeros(words.shape[::2], dtype=torch.bool, device=words.device)
        with self.autocast():
            images, mean, log_variance = self.generate(z, noise, sentence, words, padding)
        losses = []
        for i, discriminator in enumerate(self.discriminators):
            discriminator.requires_grad_(True)
            self.optimizers[i].zero_grad()
            real, fake = batch["images"][i], images[i].detach()
            with self.autocast():
                loss = self.discriminator_losses[i](real, fake, sentence)
            loss.backward()
            self.optimizers[i].step()
            discriminator.requires_grad_(False)  # whose gradient the generator's loss needs not
            losses.append(loss.detach())
        self.generator_optimizer.zero_grad()
        with self.autocast():
            terms = [loss(x, sentence) for loss, x in zip(self.generator_losses, images)]
            damsm = self.damsm_loss(images[-1], words, sentence, batch["class_id"])
        kl = kl_loss(mean, log_variance)
        total = sum(terms) + damsm
        (total + kl).backward()
        self.generator_optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(self.average, list(self.generator.parameters()), 0.001)
        return [*losses, total.detach(), kl.detach()]


class DamsmStep:
    """Stage 1: one update of the text encoder and of the image encoder's projections."""

    def __init__(self, widths: Widths, way: Way):
        self.way = way
        with torch.device(way.device):
            self.text_encoder = TextEncoder(widths)
            self.image_encoder = ImageEncoder(widths.embedding_dim).requires_grad_(False)
        if way.channels_last:
            self.image_encoder.to(memory_format=torch.channels_last)
        trained = self.image_encoder.emb_features, self.image_encoder.emb_cnn_code
        for network in trained:
            network.requires_grad_(True)
        self.parameters = [p for network in trained for p in network.parameters()]
        self.parameters += self.text_encoder.parameters()
        self.optimizer = torch.optim.Adam(self.parameters, 2e-3, (0.5, 0.999))
        compiled = torch.compile if way.compile else lambda function: function
        self.encode_images, self.losses = compiled(self._encode), compiled(matching_losses)

    def _encode(self, images):
        return self.image_encoder(images)

    def __call__(self, batch):
        """The loss."""
        self.optimizer.zero_grad()
        words, sentence = self.text_encoder(batch["caption"])
        embeddings = self.encode_images(batch["images"])
        loss = self.losses(*embeddings, words, sentence, batch["class_id"])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.text_encoder.parameters(), 0.25)
        self.optimizer.step()
        return loss.detach()


def made_up_batch(widths: Widths, batch: int, way: Way, sizes=SIZES) -> dict:
    """Images of noise, and captions of words drawn at random, on the device."""
    torch.manual_seed(0)
    memory_format = torch.channels_last if way.channels_last else torch.contiguous_format
    device = dict(device=way.device)
    images = [
        (2 * torch.rand(batch, 3, s, s, **device) - 1).contiguous(memory_format=memory_format)
        for s in sizes
    ]
    caption = torch.randint(1, widths.vocabulary, (batch, widths.words), **device)
    return {"images": images, "caption": caption, "class_id": torch.arange(batch, **device) % 150}


def flops_per_image(widths: Widths) -> float:
    """Of a step's products and convolutions, each that is needed counted once.

    The generator forward and backward: three times its forward pass. A discriminator forward and
    backward on two images, and forward and backward to its input for the generator: eight times.
    The image encoder forward and backward to its input: twice. The text encoder and the matching
    losses are left out.
    """
    from torch.utils.flop_counter import FlopCounterMode

    def forward(make, *shapes):
        with torch.device("meta"):
            network, inputs = make(), [torch.zeros(2, *shape) for shape in shapes]
        with FlopCounterMode(display=False) as counter:
            network(*inputs)
        return counter.get_total_flops() / 2

    w = widths
    D, T = w.embedding_dim, w.words

    def generate():
        network = Generator(w)
        return lambda *inputs: network(*inputs[:4], inputs[4].bool())

    total = 3 * forward(generate, (w.z_dim,), (w.condition_dim,), (D,), (D, T), (T,))
    for size in SIZES:
        network = forward(lambda size=size: Discriminator(w, size), (3, size, size))
        total += 8 * network
    return total + 2 * forward(lambda: ImageEncoder(D), (3, SIZES[-1], SIZES[-1]))
