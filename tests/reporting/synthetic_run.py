"""The files of a small finished run, as a run writes them."""

import json

import numpy as np
import pytest

from attngan_jax.workdir import Workdir

CAPTIONS = ["the bird is red", 'a <script>alert(1)</script> & "blue" bird', "a tan bird with wings"]
WORDS = [text.split() for text in ("the bird is red", "a blue bird", "a tan bird with wings")]
SIZES = (4, 8, 16)
STEPS = (100, 200, 300)
PRECISION = {"mean": 73.12, "std": 2.04, "candidates": 50, "num_images": 1000, "fold_size": 250}
CROWN = {"accuracy": 77.7, "chance": 10.4, "count": 90}
BEAK = {"accuracy": 88.8, "chance": 33.3, "count": 70}
CROWN_OF_REAL = {"accuracy": 97.6, "chance": 10.2, "count": 90}
REASONS = {"inception_score": "no Inception weights were given", "fid": "no <weights> for FID"}
METRICS = {
    "step": 300,
    "dataset": "procedural_birds",
    "split": "test",
    "r_precision": PRECISION,
    "r_precision_real_images": PRECISION | {"mean": 89.91, "std": 1.23, "num_images": 2000},
    "attribute_accuracy": {"mean": 65.4, "chance": 10.0, "crown_color": CROWN, "beak_length": BEAK},
    "attribute_accuracy_real_images": {"mean": 96.5, "crown_color": CROWN_OF_REAL},
    "inception_score": None,
    "fid": None,
    "reasons": REASONS,
    "wall_seconds": {"prepare": 41.0, "damsm": 62.0, "attngan": 431.0, "evaluate": 8.25},
}
CONFIG = {
    "name": "tiny",
    "seed": 7,
    "data": {"dataset": "procedural_birds"},
    "damsm": {"num_train_steps": 40},
    "attngan": {"num_train_steps": 300, "damsm_weight": 5.0},
    "generator": {"base_size": 8, "num_stages": 3},
}


@pytest.fixture
def unfinished(tmp_path):
    """A workdir that has a config and nothing else."""
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    return tmp_path


@pytest.fixture
def finished(unfinished):
    """A workdir with everything that a run writes."""
    files, rng = Workdir(unfinished), np.random.default_rng(0)
    files.report.mkdir()
    files.vocabulary.write_text("<end>\nthe\nbird\n")
    files.metrics.write_text(json.dumps(METRICS))
    damsm = [entry(step, "damsm", damsm_loss=5 - step / 10) for step in (10, 20, 30, 40)]
    losses = {"g_loss": 9.0, "d_loss_4": 1.0, "d_loss_8": 0.5}
    write_log(unfinished, damsm + [entry(step, "attngan", **losses) for step in STEPS])
    write_samples(unfinished, {step: SIZES for step in STEPS}, rng)
    words = np.array([[*text, *[""] * (6 - len(text))] for text in WORDS])
    texts = {"words": words, "captions": np.array(CAPTIONS)}
    maps = {f"attention_{size}": attention_maps(size) for size in SIZES[1:]}
    images = {f"image_{size}": random_images(rng, size) for size in SIZES}
    np.savez(files.attention, **texts, **images, **maps)
    damsm_maps = {"image": images["image_16"], "attention": maps["attention_8"]}
    np.savez(files.damsm_attention, **texts, **damsm_maps)
    np.savez(
        files.interpolations,
        images=np.stack([random_images(rng, 16)] * 3),
        kinds=np.array(["captions", "noise", "swap"]),
        titles=np.array(["red bird → <b>blue</b> bird", "a red bird", "a […] bird"]),
        labels=np.array([["0%", "50%", "100%"]] * 2 + [["red", "green", "blue"]]),
    )
    return unfinished


def random_images(rng, size):
    """uint8 `[N, size, size, 3]`, N the number of captions."""
    return rng.integers(0, 256, (len(CAPTIONS), size, size, 3), dtype=np.uint8)


def attention_maps(size):
    """`[N, 6, size / 2, size / 2]`: word t has its peak in cell t, higher than those before it."""
    maps = np.full((len(WORDS), 6, (size // 2) ** 2), 0.05, np.float32)
    maps[:, range(6), range(6)] = 0.1 * np.arange(1, 7)
    return maps.reshape(len(WORDS), 6, size // 2, size // 2)


def write_samples(workdir, sizes, rng):
    """Writes the fixed captions with real images, and for each step images of its sizes."""
    files = Workdir(workdir)
    files.samples.mkdir(exist_ok=True)
    np.savez(files.fixed_samples, captions=np.array(CAPTIONS), real_images=random_images(rng, 16))
    for step, of_step in sizes.items():
        images = {f"images_{size}": random_images(rng, size) for size in of_step}
        np.savez(files.samples / f"step_{step:08d}.npz", **images)


def entry(step, stage, **scalars):
    """A line of metrics.jsonl."""
    named = {f"train/{name}": value for name, value in scalars.items()}
    return json.dumps({"step": step, "stage": stage, "time": 1.7e9 + step, "scalars": named})


def write_log(workdir, lines):
    """Writes metrics.jsonl."""
    Workdir(workdir).metrics_log.write_text("".join(line + "\n" for line in lines))
