"""Names and shapes of Inception-v3's convolutions, as far as the image encoder goes.

Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", CVPR 2016; names of
`torchvision.models.inception_v3`.
"""

LOCAL_FEATURES, POOLED_FEATURES = 768, 2048  # of Mixed_6e and of Mixed_7c

CONVOLUTIONS: dict[str, tuple[int, int, int, int]] = {  # name -> [out, in, H, W]
    "Conv2d_1a_3x3": (32, 3, 3, 3),
    "Conv2d_2a_3x3": (32, 32, 3, 3),
    "Conv2d_2b_3x3": (64, 32, 3, 3),
    "Conv2d_3b_1x1": (80, 64, 1, 1),
    "Conv2d_4a_3x3": (192, 80, 3, 3),
}


def _block(name: str, inputs: int, **branches: str) -> None:
    """Adds a block: of each branch the convolutions' output channels and kernels, in order.

    Convolutions are numbered where a branch has several. "|" is between two side by side.
    """
    for branch, chain in branches.items():
        steps, channels = chain.split(", "), inputs
        for number, step in enumerate(steps, 1):
            for letter, convolution in zip("ab", step.split(" | ")):
                out, kernel = convolution.split()
                H, W = kernel.split("x")
                end = f"_{number}" * (len(steps) > 1) + letter * ("|" in step)
                CONVOLUTIONS[f"{name}.{branch}{end}"] = (int(out), channels, int(H), int(W))
            channels = int(out)


for _name, _inputs, _pool in (("5b", 192, 32), ("5c", 256, 64), ("5d", 288, 64)):
    _block(
        f"Mixed_{_name}",
        _inputs,
        branch1x1="64 1x1",
        branch5x5="48 1x1, 64 5x5",
        branch3x3dbl="64 1x1, 96 3x3, 96 3x3",
        branch_pool=f"{_pool} 1x1",
    )
_block("Mixed_6a", 288, branch3x3="384 3x3", branch3x3dbl="64 1x1, 96 3x3, 96 3x3")
for _name, _width in (("6b", 128), ("6c", 160), ("6d", 160), ("6e", 192)):
    _block(
        f"Mixed_{_name}",
        768,
        branch1x1="192 1x1",
        branch7x7=f"{_width} 1x1, {_width} 1x7, 192 7x1",
        branch7x7dbl=f"{_width} 1x1, {_width} 7x1, {_width} 1x7, {_width} 7x1, 192 1x7",
        branch_pool="192 1x1",
    )
_block(
    "Mixed_7a", 768, branch3x3="192 1x1, 320 3x3", branch7x7x3="192 1x1, 192 1x7, 192 7x1, 192 3x3"
)
for _name, _inputs in (("7b", 1280), ("7c", 2048)):
    _block(
        f"Mixed_{_name}",
        _inputs,
        branch1x1="320 1x1",
        branch3x3="384 1x1, 384 1x3 | 384 3x1",
        branch3x3dbl="448 1x1, 384 3x3, 384 1x3 | 384 3x1",
        branch_pool="192 1x1",
    )
