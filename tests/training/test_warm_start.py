"""Stage 1 taken from another run: complete, with its log, and only where it is the same."""

import json
import os
import shutil

import numpy as np
import pytest

from attngan_jax import configuration
from attngan_jax.errors import UserError
from attngan_jax.training import warm_start
from attngan_jax.training.checkpoints import Checkpoints
from attngan_jax.training.progress import wall_seconds
from attngan_jax.workdir import Workdir
from tests.faults import damage
from tests.tiny_configs import procedural_birds


@pytest.fixture
def fresh(tmp_path):
    """A config, a new workdir as `main` makes it before stage 1, and a run that finished it."""
    config, workdir, source = procedural_birds.get_config(), tmp_path / "new", tmp_path / "source"
    configuration.save_workdir_config(config, source)
    with Checkpoints(source, "damsm") as checkpoints:
        checkpoints.save(config.damsm.num_train_steps, {"x": np.arange(3.0)}, {})
    lines = ({"step": 4, "stage": s, "time": 0, "scalars": {}} for s in ("damsm", "attngan"))
    Workdir(source).metrics_log.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    Workdir(source).wall_seconds.write_text('{"prepare": 1.0, "damsm": 62.5}')
    Workdir(source).vocabulary.write_text("<end>\nbird\n")
    config.attngan.damsm_weight = 0.5  # stage 2 may differ
    workdir.mkdir()
    shutil.copy(Workdir(source).vocabulary, workdir)
    Workdir(workdir).wall_seconds.write_text('{"prepare": 3.5}')
    return config, workdir, source


def files(folder):
    paths = filter(os.path.isfile, folder.rglob("*"))
    return {path.relative_to(folder): path.read_bytes() for path in paths}


def test_the_copy_is_complete_and_says_where_it_is_from(fresh):
    config, workdir, source = fresh
    warm_start.take_damsm(config, workdir, source)
    assert files(workdir / "damsm") == files(source / "damsm")
    assert not list(workdir.glob(".damsm*"))
    logs = [Workdir(run).metrics_log.read_text().splitlines() for run in (workdir, source)]
    assert logs[0] == [line for line in logs[1] if json.loads(line)["stage"] == "damsm"] != []
    assert wall_seconds(workdir) == {"prepare": 3.5, "damsm": 62.5}
    origin = json.loads(Workdir(workdir).damsm_from.read_text())
    assert (workdir / origin["workdir"]).resolve() == source.resolve()


def test_a_stage_that_is_there_is_left_alone(fresh):
    config, workdir, source = fresh
    warm_start.take_damsm(config, workdir, source)
    Workdir(workdir).damsm_from.unlink()
    (workdir / "damsm" / "note").write_text("mine")
    warm_start.take_damsm(config, workdir, source)
    assert (workdir / "damsm" / "note").exists() and not Workdir(workdir).damsm_from.exists()


OTHER = {"seed": 5, "damsm.gamma2": 1.0, "text_encoder.word_dim": 16, "procedural_birds.seed": 3}


@pytest.mark.parametrize("key, value", OTHER.items())
def test_a_stage_of_other_settings_is_refused(fresh, key, value):
    config, workdir, source = fresh
    config.update_from_flattened_dict({key: value})
    with pytest.raises(UserError, match=f"of another config \\({key} is"):
        warm_start.take_damsm(config, workdir, source)
    assert not (workdir / "damsm").exists()


def test_an_unfinished_or_damaged_stage_and_other_words_are_refused(fresh, tmp_path_factory):
    config, workdir, source = fresh
    unfinished = tmp_path_factory.mktemp("unfinished")
    for path in (Workdir(source).config, Workdir(source).vocabulary):
        shutil.copy(path, unfinished)
    with pytest.raises(UserError, match="is not finished"):
        warm_start.take_damsm(config, workdir, unfinished)
    damage.flip(damage.files_of(source, config.damsm.num_train_steps)[-1])
    with pytest.raises(UserError, match="is damaged .checkpoint 4: "):
        warm_start.take_damsm(config, workdir, source)
    Workdir(workdir).vocabulary.write_text("<end>\nother\n")
    with pytest.raises(UserError, match="knows other words"):
        warm_start.take_damsm(config, workdir, source)
