"""A run's networks become safetensors files under the original's names."""

import jax
import numpy as np

from attngan_jax import storage
from attngan_jax.configuration import load_workdir_config
from attngan_jax.data.vocabulary import Vocabulary
from attngan_jax.interop.state_dict_files import write_safetensors
from attngan_jax.interop.state_dicts import state_dict_from_variables
from attngan_jax.sampling.trained_model import generator_variables, restore_stage
from attngan_jax.training.attngan_task import AttnganTask
from attngan_jax.training.damsm_task import DamsmTask


def export(workdir: storage.PathLike, out: storage.PathLike) -> list[storage.Path]:
    """Writes the newest checkpoint's networks, and the vocabulary beside them.

    The files are named as the original's: `netG` (with the averaged parameters), `netD0`, `netD1`
    and so on, `text_encoder`, `image_encoder`.

    Raises:
      UserError: `workdir` is no run that has trained both stages.
    """
    workdir, out = storage.path(workdir), storage.path(out)
    config = load_workdir_config(workdir)
    vocabulary = Vocabulary.load(workdir / "vocabulary.txt")
    damsm = restore_stage(DamsmTask(config, len(vocabulary)), workdir)
    attngan = restore_stage(AttnganTask(config, len(vocabulary)), workdir)
    kind = "generator_dcgan" if config.generator.single_image else "generator"
    networks = {
        "netG": (kind, generator_variables(attngan)),
        "text_encoder": ("text_encoder", damsm.text.variables),
        "image_encoder": ("image_encoder", damsm.image.variables),
    } | {
        f"netD{i}": ("discriminator", network.variables)
        for i, network in enumerate(attngan.discriminators)
    }
    out.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, (kind, variables) in networks.items():
        state_dict = state_dict_from_variables(kind, jax.tree.map(np.asarray, variables))
        paths.append(out / f"{name}.safetensors")
        write_safetensors(paths[-1], state_dict)
    storage.write_bytes(out / "vocabulary.txt", (workdir / "vocabulary.txt").read_bytes())
    return paths
