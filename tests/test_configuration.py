"""Configs: on disk, checked against the schema, resumed with."""

import errno
import importlib
import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

from attngan_jax import configuration, storage
from attngan_jax.errors import UserError
from configs import Key, ablation, default, procedural_birds
from configs.default import SCHEMA
from tests import tiny_runs

CONFIGS = sorted(path.stem for path in (tiny_runs.ROOT / "configs").glob("[a-z]*.py"))


def keys(config):
    return configuration.flatten(config.to_dict())


def test_a_config_comes_back_from_its_workdir(tmp_path):
    config = default.get_config()
    configuration.save_workdir_config(config, tmp_path / "new" / "run")
    loaded = configuration.load_workdir_config(tmp_path / "new" / "run")
    assert keys(loaded) == keys(config) and loaded.is_locked
    assert [path.name for path in (tmp_path / "new" / "run").iterdir()] == ["config.json"]


def test_another_config_is_named_by_its_differing_keys(tmp_path):
    config = default.get_config()
    configuration.save_workdir_config(config, tmp_path)
    config.seed, config.damsm.gamma1 = 3, 5.0
    with pytest.raises(UserError, match=r"damsm.gamma1 is 4.0 there and 5.0 here; seed is 0 there"):
        configuration.save_workdir_config(config, tmp_path)
    assert configuration.load_workdir_config(tmp_path).seed == 0


def test_a_key_that_is_new_or_gone_differs(tmp_path):
    config = default.get_config()
    configuration.save_workdir_config(config, tmp_path)
    config.brand_new = 1
    with pytest.raises(UserError, match="brand_new is 'no such key' there and 1 here"):
        configuration.save_workdir_config(config, tmp_path)


def test_keys_that_decide_nothing_may_change(tmp_path):
    config = default.get_config()
    configuration.save_workdir_config(config, tmp_path)
    changed = {
        "data.data_dir": "/elsewhere",
        "log_every_steps": 7,
        "attngan.checkpoint_every_steps": 5,
        "attngan.sample_every_steps": 9,
        "attngan.best_checkpoint": "eval/r_precision",
        "eval.num_images": 100,
        "remat": "layers",
    }
    assert {SCHEMA[name].decides for name in changed} == {"nothing"}
    config.update_from_flattened_dict(changed)
    configuration.save_workdir_config(config, tmp_path)
    assert changed.items() <= keys(configuration.load_workdir_config(tmp_path)).items()


def test_a_started_run_takes_more_steps_and_not_fewer(tmp_path):
    config = default.get_config()
    configuration.save_workdir_config(config, tmp_path)
    more = {"damsm.num_train_steps": 200_000, "attngan.num_train_steps": 300_000}
    config.update_from_flattened_dict(more)
    configuration.save_workdir_config(config, tmp_path)
    assert more.items() <= keys(configuration.load_workdir_config(tmp_path)).items()
    config.attngan.num_train_steps -= 1
    with pytest.raises(UserError, match="attngan.num_train_steps is 300000 there and 299999 here"):
        configuration.save_workdir_config(config, tmp_path)


def test_the_schema_says_which_keys_stage_1_follows_from():
    old, new = default.get_config(), default.get_config()
    new.folder.seed, new.folder.test_fraction, new.damsm.gamma1 = 2, 0.2, 5.0
    new.attngan.damsm_weight, new.data.max_words, new.data.num_workers = 1.0, 9, 2
    differing = configuration.differences(old, new, of=["damsm"])
    assert [line.partition(" ")[0] for line in differing] == [
        "damsm.gamma1",
        "folder.seed",
        "folder.test_fraction",
    ]
    assert len(configuration.differences(old, new)) == 5


def save_without(workdir, *names):
    """config.json of a run that is older than these keys and sections; returns what it holds."""
    values = procedural_birds.get_config().to_dict()
    for name in names:
        section, _, key = name.rpartition(".")
        (values[section] if section else values).pop(key)
    (workdir / "config.json").write_text(json.dumps(values))
    return configuration.flatten(values)


@pytest.fixture
def logged(monkeypatch):
    """The lines that loading a config logs."""
    lines = []
    monkeypatch.setattr(
        configuration.logging, "info", lambda form, *words: lines.append(form % words)
    )
    return lines


def test_keys_younger_than_a_run_have_what_default_says(tmp_path, logged):
    kept = save_without(tmp_path, "remat", "folder", "attngan.accumulation_steps")
    for _ in range(2):
        loaded = configuration.load_workdir_config(tmp_path)
    assert loaded.is_locked and keys(loaded).keys() == keys(default.get_config()).keys()
    assert {key: keys(loaded)[key] for key in kept} == kept
    assert (loaded.remat, loaded.folder.test_fraction) == ("none", 0.1)
    assert loaded.attngan.accumulation_steps == 1
    (line,) = logged  # once, however often it is loaded
    assert str(tmp_path) in line and "remat counts as 'none'" in line
    assert all(key in line for key in ("folder.title", "folder.seed", "attngan.accumulation_steps"))
    assert "damsm" not in line


def test_an_older_run_did_what_it_did_and_not_what_default_does_now(tmp_path, logged):
    save_without(tmp_path, "damsm.best_checkpoint", "data.damsm_max_words", "attngan.gamma3")
    assert default.get_config().attngan.gamma3 == 10.0
    assert default.get_config().damsm.best_checkpoint and default.get_config().data.max_words == 18
    loaded = configuration.load_workdir_config(tmp_path)
    assert loaded.damsm.best_checkpoint == "" and loaded.data.damsm_max_words == 20
    assert loaded.attngan.gamma3 == loaded.damsm.gamma3 == 20.0
    assert "data.damsm_max_words counts as 20" in logged[0]


def test_an_older_run_goes_on_where_the_new_key_changes_nothing(tmp_path):
    save_without(tmp_path, "remat", "per_device_negatives", "attngan.accumulation_steps")
    other = procedural_birds.get_config()
    other.per_device_negatives = True
    with pytest.raises(UserError, match="per_device_negatives is False there and True here"):
        configuration.save_workdir_config(other, tmp_path)
    configuration.save_workdir_config(procedural_birds.get_config(), tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    assert written["per_device_negatives"] is False and written["attngan"]["accumulation_steps"]


def test_keys_that_default_does_not_know_are_named_and_kept(tmp_path, logged):
    values = default.get_config().to_dict() | {"brand_new": 1, "section": {"key": 2}}
    (tmp_path / "config.json").write_text(json.dumps(values))
    assert configuration.load_workdir_config(tmp_path).section.key == 2
    (line,) = logged
    assert "brand_new, section.key" in line
    with pytest.raises(UserError, match="brand_new is 1 there and 'no such key' here"):
        configuration.save_workdir_config(default.get_config(), tmp_path)


def test_defaults_are_found_from_any_folder(tmp_path):
    save_without(tmp_path, "remat")
    (tmp_path / "configs").mkdir()  # a folder of that name is no package
    done = subprocess.run(
        [sys.executable, "-m", "attngan_jax.report", "--workdir", "."],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tiny_runs.ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "remat counts as 'none'" in done.stderr and done.stdout.strip().endswith("index.html")


@pytest.mark.parametrize(
    "content, message",
    [
        (None, "is no workdir of a run: it has no config.json"),
        ('{"seed": 1', "config.json is not valid JSON"),
        ("[" * 100_000, "config.json is not valid JSON"),
        ("[1]", r"config.json is damaged \(the whole of it should be a section of keys\)"),
        ('{"data": 3}', r"config.json is damaged \(data should be a section of keys\)"),
        ('{"seed": {}}', r"config.json is damaged \(seed should be a value\)"),
        ('{"data": {"source": {}}}', r"config.json is damaged \(data.source should be a value\)"),
        ('{"data": {"data_dir": 3}}', "config.json: data.data_dir is 3: it must be a text"),
        ('{"generator": {"gf_dim": 0}}', "generator.gf_dim is 0: it must be at least 1"),
        ('{"generator": {"num_stages": "x"}}', "num_stages is 'x': it must be a whole number"),
        ('{"generator": {"num_stages": 1.5}}', "num_stages is 1.5: it must be a whole number"),
        ('{"generator": {"base_size": null}}', "base_size is None: it must be a whole number"),
        ('{"damsm": {"gamma1": NaN}}', "damsm.gamma1 is nan: it must be at least 0"),
    ],
)
def test_a_workdir_without_a_good_config_says_so(content, message, tmp_path):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(UserError, match=message):
        configuration.load_workdir_config(tmp_path)


def test_a_full_disk_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "config.json"
    storage.write_text(path, "old")

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        storage.write_text(path, "new")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "key, value",
    [
        ("log_every_steps", 0),
        ("damsm.batch_size", 0),
        ("eval.fold_size", -5),
        ("eval.num_candidates", 1),
        ("attngan.batch_size", 1),
        ("attngan.ema_decay", 1.5),
        ("generator.base_size", 15),
        ("image_encoder.trunk", "resnet"),
        ("compute_dtype", "float8"),
        ("text_encoder.rnn_type", "rnn"),
        ("text_encoder.embedding_dim", 9),
        ("attngan.adversarial_loss", "wasserstein"),
        ("seed", -1),
    ],
)
def test_values_that_no_run_can_work_with_are_named(key, value):
    config = default.get_config()
    configuration.check(config)
    config.update_from_flattened_dict({key: value})
    with pytest.raises(UserError, match=rf"^config.{key} is '?{value}'?: "):
        configuration.check(config)


@pytest.mark.parametrize(
    "key, good, bad",
    [
        (Key(1), [1, 2**31 - 1], [0, True, 1.0, "1", None, 2**31, 2**80]),
        (Key(1, at_most=2**40), [2**40], [2**40 + 1]),
        (Key(0.5), [0, 0.0, 7], [1e10, -1e-9, float("nan"), float("inf"), True, "x"]),
        (Key(1.0, above=0, at_most=2), [1e-9, 2], [0, 2.1]),
        (Key(""), ["", "a"], [0, None, False, "a\0b", "\ud800", "a" * 5_000]),
        (Key(False), [True], [0, "False", None]),
        (Key("a", choices=("a", "b")), ["b"], ["c"]),
        (Key("a", registry="configs.default:SCHEMA"), ["a", "seed"], ["nope"]),
    ],
)
def test_a_key_knows_its_values(key, good, bad):
    assert not any(key.problem(value) for value in good)
    assert all(key.problem(value) for value in bad)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_has_the_keys_of_default_and_its_own_name(name):
    config = importlib.import_module(f"configs.{name}").get_config()
    assert keys(config).keys() == SCHEMA.keys()
    assert config.name == name
    configuration.check(config)
    json.dumps(config.to_dict())


@pytest.mark.parametrize("variant", [name for name in ablation.VARIANTS if name])
def test_a_variant_changes_what_it_names_and_nothing_else(variant):
    shared, config = keys(ablation.get_config()), keys(ablation.get_config(variant))
    changed = {key for key in shared if shared[key] != config[key]}
    assert changed | {"attngan.damsm_weight"} == (
        {"name", "attngan.damsm_weight"} | ablation.VARIANTS[variant].keys()
    )
    assert {key: config[key] for key in ablation.VARIANTS[variant]} == ablation.VARIANTS[variant]
    assert config["name"] == f"ablation_{variant}"
    configuration.check(ablation.get_config(variant))


def test_every_key_of_default_is_explained():
    lines = pathlib.Path(default.__file__).read_text().splitlines()
    explained = [
        bool(re.search(r"  # \S", line) or re.match(r" +# \S", before))
        for before, line in zip(lines, lines[1:])
        if re.match(r"    \w+\.\w+ = (?!_)", line)
    ]
    assert len(explained) == len(SCHEMA) and all(explained)
