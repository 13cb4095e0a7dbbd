"""PyTorch's training step as a case of the comparison; see `worker.py`."""

import resource
import time

import torch

from benchmarks.against_pytorch import torch_step, worker
from benchmarks.against_pytorch.torch_networks import Widths


class GanStep:
    """The whole step of stage 2."""

    def __init__(self, settings: dict):
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        torch.backends.cudnn.benchmark = True  # as the released code has it
        if settings.get("strict"):
            torch.backends.cudnn.allow_tf32 = False
        if settings.get("tf32"):
            torch.backends.cuda.matmul.allow_tf32 = True
        names = ("amp", "compile", "channels_last")
        self.way = torch_step.Way(self.device, *(bool(settings.get(name)) for name in names))
        small = dict(gf_dim=4, df_dim=4) if settings.get("smoke") else {}
        self.widths, self.batch_size = Widths(**small), settings["batch"]
        self.device_name = torch.cuda.get_device_name() if self.device == "cuda" else "cpu"

    def compile(self) -> dict:
        """The first step, in which `torch.compile` compiles; in eager mode nothing."""
        begin = time.perf_counter()
        if self.way.compile:
            self.build()
            self.run(1)
        return {
            "compile_seconds": time.perf_counter() - begin,
            "versions": {"torch": torch.__version__},
            "device": self.device_name,
        }

    def build(self) -> None:
        """Networks and a batch on the device."""
        self.step = torch_step.Step(self.widths, self.way)
        self.batch = torch_step.made_up_batch(self.widths, self.batch_size, self.way)

    def run(self, times: int) -> None:
        """Steps, the last of which is waited for, and with it all."""
        if not hasattr(self, "step"):  # an eager case takes no memory before its turn
            self.build()
        for _ in range(times):
            self.losses = self.step(self.batch)
        if self.device == "cuda":
            torch.cuda.synchronize()

    def peak_bytes(self) -> int:
        """Of the device's memory; of the process, on a CPU."""
        if self.device == "cuda":
            return torch.cuda.max_memory_allocated()
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    def profile(self) -> list:
        """Kernels by their share of the device's time, in one step."""
        on_gpu = self.device == "cuda"
        kinds = torch.profiler.ProfilerActivity
        activities = [kinds.CPU, kinds.CUDA] if on_gpu else [kinds.CPU]
        with torch.profiler.profile(activities=activities) as profile:
            self.run(1)

        def own_time(row):
            return row.self_device_time_total if on_gpu else row.self_cpu_time_total

        rows = [row for row in profile.key_averages() if own_time(row) > 0]
        total = sum(own_time(row) for row in rows)
        rows = sorted(rows, key=own_time, reverse=True)[:10]
        return [
            [round(own_time(row) / total, 4), round(own_time(row) / 1e3, 2), row.key[:120]]
            for row in rows
        ]


if __name__ == "__main__":
    worker.serve(GanStep)
