"""Writes the little `.pth` files in `tests/interop/files/`; needs PyTorch (2.13.0 was used).

python tests/interop/make_files.py
"""

from collections import OrderedDict
from pathlib import Path

import torch

FILES = Path(__file__).parent / "files"


def tensors():
    """Every kind of storage and view, with numbers that a test can write down again."""
    shared = torch.arange(12, dtype=torch.float32) / 8
    return OrderedDict(
        float32=torch.linspace(-1, 1, 6).reshape(2, 3),
        float64=torch.tensor([1 / 3, -2e300], dtype=torch.float64),
        float16=torch.tensor([0.1, 65504.0, -6e-8], dtype=torch.float16),
        bfloat16=torch.tensor([0.1, 3e38], dtype=torch.bfloat16),
        int64=torch.tensor([-(2**40), 7]),
        int32=torch.tensor([[-5], [6]], dtype=torch.int32),
        uint8=torch.tensor([0, 255], dtype=torch.uint8),
        bool=torch.tensor([True, False, True]),
        scalar=torch.tensor(3),
        empty=torch.zeros(0, 4),
        shared=shared,
        shared_part=shared[4:8],
        transposed=shared.reshape(3, 4).t(),
        strided=shared[1::3],
        repeated=torch.tensor([2.5]).expand(4),
        parameter=torch.nn.Parameter(torch.tensor([0.5, -0.5])),
    )


if __name__ == "__main__":
    torch.manual_seed(0)  # a state_dict of modules has PyTorch's own metadata beside it
    network = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3), torch.nn.BatchNorm2d(3))
    for name, value in {"tensors": tensors(), "network": network.state_dict()}.items():
        torch.save(value, FILES / f"{name}_zip.pth")
        torch.save(value, FILES / f"{name}_legacy.pth", _use_new_zipfile_serialization=False)
