"""Which class of the released code's `model.py` takes which file of an export, and with which cfg.

A run may have shapes that the released code has no network for; then its tensors can be read in
PyTorch, but a network for them has to be written.
"""

from collections.abc import Iterable

from ml_collections import ConfigDict

from attngan_jax.training.networks import image_sizes


def released_classes(config: ConfigDict, num_words: int) -> dict[str, tuple[str, str]]:
    """File's stem -> (the call that makes the network, ""), or ("", why there is none)."""
    g, text = config.generator, config.text_encoder
    misfit = ""
    if g.base_size != 64:
        misfit = f"its first image is of 64 pixels, not {g.base_size}"
    elif g.num_stages > 3:
        misfit = f"it has at most 3 stages, not {g.num_stages}"
    elif g.num_stages > 1 and not g.attention:
        misfit = "it always has attention"
    networks = {"netG": ("G_DCGAN()" if g.single_image else "G_NET()", misfit)}
    for i, size in enumerate(image_sizes(config)):
        misfit = "" if size in (64, 128, 256) else f"it has none of {size} pixels"
        call = f"D_NET{size}({'b_jcu=False' if g.single_image else ''})"
        networks[f"netD{i}"] = (call, misfit)
    call = f"RNN_ENCODER({num_words}, ninput={text.word_dim}, nhidden={text.embedding_dim})"
    misfit = (
        ""
        if text.sentence_pooling == "last"
        else f"its sentence is the last states, not the words' {text.sentence_pooling}"
    )
    networks["text_encoder"] = (call, misfit)
    misfit = "" if config.image_encoder.trunk == "inception_v3" else "its trunk is Inception-v3"
    networks["image_encoder"] = (f"CNN_ENCODER({text.embedding_dim})", misfit)
    return {name: ("", why) if why else (call, "") for name, (call, why) in networks.items()}


def loading_hint(config: ConfigDict, num_words: int, paths: Iterable) -> str:
    """The lines that load the files in PyTorch, for a person to copy."""
    paths = {path.stem: path for path in paths}
    networks = released_classes(config, num_words)
    fitting = {name: call for name, (call, _) in networks.items() if call}
    name = next(iter(fitting), "netG")
    lines = [
        "from safetensors.torch import load_file",
        f"state_dict = load_file({str(paths[name])!r})",
    ]
    if fitting:
        lines = [
            "In PyTorch, with the released code's model.py and the cfg below:",
            *(f"  {line}" for line in lines),
            f"  {name} = {fitting[name]}; {name}.load_state_dict(state_dict)",
            f"cfg: {_cfg(config)}",
        ]
    else:
        lines = [
            "In PyTorch, into a network of your own with these names:",
            *(f"  {line}" for line in lines),
            "  network.load_state_dict(state_dict)",
        ]
    lines += [f"The same for {other}: {call}" for other, call in fitting.items() if other != name]
    lines += [
        f"The released code has no {other} for it: {why}"
        for other, (_, why) in networks.items()
        if why
    ]
    return "\n".join(lines)


def _cfg(config: ConfigDict) -> str:
    g = config.generator
    values = {
        "TREE.BRANCH_NUM": g.num_stages,
        "GAN.GF_DIM": g.gf_dim,
        "GAN.DF_DIM": config.discriminator.df_dim,
        "GAN.Z_DIM": g.z_dim,
        "GAN.CONDITION_DIM": g.condition_dim,
        "GAN.R_NUM": g.num_residual_blocks,
        "GAN.B_DCGAN": g.single_image,
        "TEXT.EMBEDDING_DIM": config.text_encoder.embedding_dim,
        "RNN_TYPE": config.text_encoder.rnn_type.upper(),
    }
    return ", ".join(f"{key} {value}" for key, value in values.items())
