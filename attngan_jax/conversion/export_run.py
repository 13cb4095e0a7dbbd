"""A run becomes a model folder, and safetensors files under the released code's names."""

from collections.abc import Iterable

import jax
import numpy as np

from attngan_jax import storage
from attngan_jax.configuration import Config
from attngan_jax.interop import state_dict_from_variables, write_safetensors
from attngan_jax.sampling import model_folder
from attngan_jax.sampling.trained_model import TrainedModel, networks_in, restore_stage
from attngan_jax.training.attngan_task import AttnganTask
from attngan_jax.training.checkpoints import Checkpoints
from attngan_jax.training.networks import image_sizes
from attngan_jax.workdir import find_model


def export(workdir: storage.PathLike, out: storage.PathLike) -> list[storage.Path]:
    """Writes a model folder and, for PyTorch, each network in a file of its own; returns these.

    They are named as the original's: `netG` (with the averaged parameters), `text_encoder`,
    `image_encoder` and, of a run, `netD0`, `netD1` and so on, those that it has (a discriminator of
    regions is left out: the original has none). Raises `UserError` if `workdir` is neither a run
    that has trained both stages nor a model folder.
    """
    workdir, out = find_model(workdir), storage.path(out)
    trained = TrainedModel.load(workdir, networks=networks_in(workdir))
    config = trained.config
    model_folder.write(out, workdir, config, trained.variables, trained.step)
    networks = [
        (model_folder.FILES[name], model_folder.kind(config, name), variables)
        for name, variables in trained.variables.items()
    ]
    if not model_folder.is_one(workdir):
        for i, variables in _discriminators(trained.task, workdir).items():
            networks.append((f"netD{i}", "discriminator", variables))
    for name, kind, variables in networks:
        state_dict = state_dict_from_variables(kind, jax.tree.map(np.asarray, variables))
        write_safetensors(out / f"{name}.safetensors", state_dict)
    return [out / f"{name}.safetensors" for name, _, _ in networks]


def _discriminators(task: AttnganTask, workdir: storage.PathLike) -> dict[int, dict]:
    """A run's discriminators by stage; of one that was imported those that were given to it."""
    with Checkpoints(workdir, task.name, best=task.settings.best_checkpoint) as checkpoints:
        given = checkpoints.given(checkpoints.best_step())
    count = len(task.discriminators)
    there = [i for i in range(count) if given is None or given["discriminators"][i]]

    def make(key):
        fresh = [d.variables for d in task.create_train_state(key).discriminators]
        return {"discriminators": [fresh[i] if i in there else {} for i in range(count)]}

    restored = restore_stage(task, workdir, part=make)["discriminators"]
    return {i: restored[i] for i in there if i < len(task.image_sizes)}


def released_classes(config: Config, num_words: int) -> dict[str, tuple[str, str]]:
    """The file's stem -> (the call that makes its network in the released `model.py`, "").

    Without such a class: ("", why there is none). The tensors can still be read in PyTorch.
    """
    g, text, sizes = config.generator, config.text_encoder, image_sizes(config)
    jcu = "b_jcu=False" if g.single_image else ""
    calls = {"netG": "G_DCGAN()" if g.single_image else "G_NET()"}
    calls |= {f"netD{i}": f"D_NET{size}({jcu})" for i, size in enumerate(sizes)}
    dimensions = f"ninput={text.word_dim}, nhidden={text.embedding_dim}"
    calls["text_encoder"] = f"RNN_ENCODER({num_words}, {dimensions})"
    calls["image_encoder"] = f"CNN_ENCODER({text.embedding_dim})"
    odd = [i for i, size in enumerate(sizes) if size not in (64, 128, 256)]
    misfits = {f"netD{i}": f"it has none of {sizes[i]} pixels" for i in odd}
    if limit := config.discriminator.max_width:
        misfits |= {f"netD{i}": f"its width has no limit, here {limit}" for i in range(len(sizes))}
    if (norm := config.discriminator.norm) != "batch":
        misfits |= {f"netD{i}": f"it has no {norm} norm" for i in range(len(sizes))}
    if g.num_stages > 1 and not g.attention:
        misfits["netG"] = "it always has attention"
    if g.num_stages > 3:
        misfits["netG"] = f"it has at most 3 stages, not {g.num_stages}"
    if g.base_size != 64:
        misfits["netG"] = f"its first image is of 64 pixels, not {g.base_size}"
    if side := g.bilinear_up_to:
        misfits["netG"] = f"it upsamples by nearest neighbour, not bilinearly up to {side}"
    if (pooling := text.sentence_pooling) != "last":
        misfits["text_encoder"] = f"its sentence is the last states, not the words' {pooling}"
    if config.image_encoder.trunk != "inception_v3":
        misfits["image_encoder"] = "its trunk is Inception-v3"
    calls |= dict.fromkeys(misfits, "")
    return {name: (call, misfits.get(name, "")) for name, call in calls.items()}


def loading_hint(config: Config, num_words: int, paths: Iterable[storage.Path]) -> str:
    """The lines that load the files in PyTorch, for a person to copy."""
    g, text = config.generator, config.text_encoder
    networks = released_classes(config, num_words)
    lines = ["In PyTorch, with the released code's model.py:"]
    lines += ["  from safetensors.torch import load_file"]
    for path in paths:
        name, (call, why) = path.stem, networks[path.stem]
        line = f"{name} = {call}; {name}.load_state_dict(load_file({str(path)!r}))"
        own = f"# {path} needs a network of your own: the released code has no {name} for it: {why}"
        lines.append(f"  {own if why else line}")
    lines.append(
        f"Its cfg: TREE.BRANCH_NUM {g.num_stages}, GAN.GF_DIM {g.gf_dim}, "
        f"GAN.DF_DIM {config.discriminator.df_dim}, GAN.Z_DIM {g.z_dim}, "
        f"GAN.CONDITION_DIM {g.condition_dim}, GAN.R_NUM {g.num_residual_blocks}, "
        f"GAN.B_DCGAN {g.single_image}, TEXT.EMBEDDING_DIM {text.embedding_dim}, "
        f"RNN_TYPE {text.rnn_type.upper()}"
    )
    return "\n".join(lines)
