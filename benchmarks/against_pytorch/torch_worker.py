"""PyTorch's side of the comparison, one piece of work a process; see `worker.py`."""

import resource
import time

import torch

from benchmarks.against_pytorch import torch_step, worker
from benchmarks.against_pytorch.torch_networks import Generator, Widths


class Case:
    """A function that is called again and again, made when it is first needed."""

    def __init__(self, settings: dict):
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        torch.backends.cudnn.benchmark = True  # as the released code has it
        if settings.get("strict"):
            torch.backends.cudnn.allow_tf32 = False
        names = ("amp", "compile", "channels_last")
        self.way = torch_step.Way(self.device, *(bool(settings.get(name)) for name in names))
        small = dict(gf_dim=4, df_dim=4) if settings.get("smoke") else {}
        self.widths, self.batch_size = Widths(**small), settings.get("batch", 0)
        self.make = WORK[settings.get("work", "step")]
        self.device_name = torch.cuda.get_device_name() if self.device == "cuda" else "cpu"

    def compile(self) -> dict:
        """The first call, in which `torch.compile` compiles; in eager mode nothing."""
        begin = time.perf_counter()
        if self.way.compile:
            self.run(1)
        return {
            "compile_seconds": time.perf_counter() - begin,
            "versions": {"torch": torch.__version__},
            "device": self.device_name,
            "threads": torch.get_num_threads(),
        }

    def run(self, times: int) -> None:
        """Calls, the last of which is waited for, and with it all."""
        if not hasattr(self, "call"):  # an eager case takes no memory before its turn
            self.call = self.make(self.widths, self.batch_size, self.way)
        for _ in range(times):
            self.result = self.call()
        if self.device == "cuda":
            torch.cuda.synchronize()

    def peak_bytes(self) -> int:
        """Of the device's memory; of the process, on a CPU."""
        if self.device == "cuda":
            return torch.cuda.max_memory_allocated()
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    def profile(self) -> list:
        """Operations by their share of the device's time, in one call."""
        on_gpu = self.device == "cuda"
        kinds = torch.profiler.ProfilerActivity
        activities = [kinds.CPU, kinds.CUDA] if on_gpu else [kinds.CPU]
        with torch.profiler.profile(activities=activities) as profile:
            self.run(1)

        def own_time(row):
            return row.self_device_time_total if on_gpu else row.self_cpu_time_total

        rows = [row for row in profile.key_averages() if own_time(row) > 0]
        if on_gpu:  # an operation's row has the time of its kernels, which have rows too
            rows = [row for row in rows if row.device_type == torch.autograd.DeviceType.CUDA]
        total = sum(own_time(row) for row in rows)
        rows = sorted(rows, key=own_time, reverse=True)[:10]
        return [
            [round(own_time(row) / total, 4), round(own_time(row) / 1e3, 2), row.key[:120]]
            for row in rows
        ]


def gan_step(widths, batch_size, way):
    """The whole step of stage 2."""
    step = torch_step.Step(widths, way)
    batch = torch_step.made_up_batch(widths, batch_size, way)
    return lambda: step(batch)


def damsm_step(widths, batch_size, way):
    """The step of stage 1, with images of 299 pixels."""
    step = torch_step.DamsmStep(widths, way)
    batch = torch_step.made_up_batch(widths, batch_size, way, (299,))
    batch["images"] = batch["images"][0]
    return lambda: step(batch)


def drawing(widths, batch_size, way):
    """From the features of captions to images of all stages."""
    w = widths
    generator = Generator(w).to(way.device).eval()
    if way.channels_last:
        generator = generator.to(memory_format=torch.channels_last)
    shapes = (w.z_dim,), (w.condition_dim,), (w.embedding_dim,), (w.embedding_dim, w.words)
    inputs = [torch.randn(batch_size, *shape, device=way.device) for shape in shapes]
    padding = torch.zeros(batch_size, w.words, dtype=torch.bool, device=way.device)
    generate = torch.compile(generator) if way.compile else generator

    @torch.no_grad()
    def draw():
        with torch.autocast(way.device, torch.bfloat16, enabled=way.amp):
            return generate(*inputs, padding)

    return draw


def word_loss(widths, batch_size, way):
    """DAMSM's word loss and its gradient, every image with every caption, all at once."""
    w, device = widths, way.device
    regions = torch.randn(batch_size, w.embedding_dim, 289, device=device, requires_grad=True)
    words = torch.randn(batch_size, w.embedding_dim, w.words, device=device, requires_grad=True)
    truth = torch.arange(batch_size, device=device)

    def loss(regions, words):
        scores = torch_step.GAMMA3 * torch_step.word_scores(regions, words)
        cross_entropy = torch.nn.functional.cross_entropy
        return cross_entropy(scores, truth) + cross_entropy(scores.T, truth)

    called = torch.compile(loss) if way.compile else loss
    return lambda: torch.autograd.grad(called(regions, words), (regions, words))


def arithmetic(widths, batch_size, way):
    """Two products of 2048 x 2048 matrices: `ARITHMETIC_FLOPS`."""
    del widths, batch_size
    a, b = (torch.randn(2048, 2048, device=way.device) for _ in range(2))
    return lambda: (a @ b) @ b


def convolution(widths, batch_size, way):
    """A 3x3 convolution of 8 images of 64 x 128 x 128, 128 channels out: `CONVOLUTION_FLOPS`."""
    del widths, batch_size
    x = torch.randn(8, 64, 128, 128, device=way.device)
    w = torch.randn(128, 64, 3, 3, device=way.device)
    if way.channels_last:
        x, w = (a.contiguous(memory_format=torch.channels_last) for a in (x, w))
    return lambda: torch.nn.functional.conv2d(x, w, padding=1)


WORK = {
    "step": gan_step,
    "damsm": damsm_step,
    "drawing": drawing,
    "word loss": word_loss,
    "arithmetic": arithmetic,
    "convolution": convolution,
}

if __name__ == "__main__":
    worker.serve(Case)
