"""The released code's way to DAMSM's word loss, a loop over captions, for `benchmarks.damsm`.

Run by a Python that has PyTorch, which the project itself does without: BATCH_SIZE REPEATS.
"""

import statistics
import sys
import time

import torch

T, SIDE, D = 18, 17, 256
GAMMA1, GAMMA2, GAMMA3 = 4.0, 5.0, 10.0


def caption_scores(word, regions):
    """One caption `[D, T]` with every image `[B, D, R]` -> `[B]`."""
    B, T = len(regions), word.shape[1]
    words = word.expand(B, -1, -1).contiguous()
    alpha = torch.softmax(regions.transpose(1, 2) @ words, dim=2)  # over words
    alpha = torch.softmax(GAMMA1 * alpha.transpose(1, 2).contiguous(), dim=2)  # over regions
    contexts = (regions @ alpha.transpose(1, 2)).transpose(1, 2).reshape(B * T, -1)
    words = words.transpose(1, 2).reshape(B * T, -1)
    norms = (words.norm(dim=1) * contexts.norm(dim=1)).clamp(min=1e-8)
    relevance = ((words * contexts).sum(1) / norms).view(B, T)
    return (GAMMA2 * relevance).exp().sum(1).log()


def main():
    """Prints the median time of forward and backward."""
    B, repeats = map(int, sys.argv[1:])
    torch.manual_seed(0)
    regions = torch.randn(B, D, SIDE * SIDE, requires_grad=True)
    words = torch.randn(B, D, T, requires_grad=True)
    labels, times = torch.arange(B), []
    for _ in range(1 + repeats):
        begin = time.perf_counter()
        scores = GAMMA3 * torch.stack([caption_scores(word, regions) for word in words], dim=1)
        loss = sum(torch.nn.functional.cross_entropy(s, labels) for s in (scores, scores.T))
        torch.autograd.grad(loss, (regions, words))
        times.append(time.perf_counter() - begin)
    print(
        f"batch {B}, the loop over captions: {statistics.median(times[1:]):.3f} s, in PyTorch "
        f"{torch.__version__} with {torch.get_num_threads()} threads"
    )


if __name__ == "__main__":
    main()
