"""A small finished run, made of files alone."""

import json

import numpy as np
import pytest

CAPTIONS = [
    "the bird is red",
    'a <script>alert(1)</script> & "blue" bird',
    "a green bird with wings",
]
WORDS = [
    ["the", "bird", "is", "red"],
    ["a", "blue", "bird"],
    ["a", "green", "bird", "with", "wings"],
]
SIZES = (4, 8, 16)
STEPS = (100, 200, 300)

METRICS = {
    "step": 300,
    "dataset": "procedural_birds",
    "split": "test",
    "r_precision": {
        "mean": 73.12,
        "std": 2.04,
        "candidates": 50,
        "num_images": 1000,
        "fold_size": 250,
    },
    "r_precision_real_images": {
        "mean": 89.91,
        "std": 1.23,
        "candidates": 50,
        "num_images": 2000,
        "fold_size": 500,
    },
    "attribute_accuracy": {
        "mean": 65.4,
        "chance": 10.0,
        "crown_color": {"accuracy": 77.7, "chance": 10.4, "count": 90},
        "beak_length": {"accuracy": 88.8, "chance": 33.3, "count": 70},
    },
    "attribute_accuracy_real_images": {
        "mean": 96.5,
        "chance": 10.1,
        "crown_color": {"accuracy": 97.6, "chance": 10.2, "count": 90},
    },
    "inception_score": None,
    "fid": None,
    "reasons": {
        "inception_score": "no Inception weights were given",
        "fid": "no <weights> for FID",
    },
    "wall_seconds": {"prepare": 41.0, "damsm": 62.0, "attngan": 431.0, "evaluate": 8.25},
}
CONFIG = {
    "name": "tiny",
    "seed": 7,
    "data": {"dataset": "procedural_birds"},
    "damsm": {"num_train_steps": 40},
    "attngan": {"num_train_steps": 300, "damsm_weight": 5.0},
    "generator": {"base_size": 4, "num_stages": 3},
}


@pytest.fixture
def unfinished(tmp_path):
    """A workdir that has a config and nothing else."""
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    return tmp_path


@pytest.fixture
def finished(unfinished):
    """A workdir with everything that a run writes."""
    workdir, rng = unfinished, np.random.default_rng(0)
    (workdir / "samples").mkdir()
    (workdir / "report").mkdir()
    (workdir / "vocabulary.txt").write_text("<end>\nthe\nbird\n")
    write_log(
        workdir,
        [entry(step, "damsm", damsm_loss=5 - step / 10) for step in (10, 20, 30, 40)]
        + [entry(step, "attngan", g_loss=9.0, d_loss_4=1.0, d_loss_8=0.5) for step in STEPS],
    )
    np.savez(
        workdir / "samples" / "fixed.npz",
        captions=np.array(CAPTIONS),
        real_images=pictures(rng, 16),
    )
    for step in STEPS:
        np.savez(
            workdir / "samples" / f"step_{step:08d}.npz",
            **{f"images_{size}": pictures(rng, size) for size in SIZES},
        )
    (workdir / "report" / "metrics.json").write_text(json.dumps(METRICS))
    write_attention(workdir, rng)
    np.savez(
        workdir / "report" / "explorations.npz",
        images=np.stack([pictures(rng, 16)] * 3),
        kinds=np.array(["captions", "noise", "swap"]),
        titles=np.array(["red bird → <b>blue</b> bird", "a red bird", "a […] bird"]),
        labels=np.array([["0%", "50%", "100%"]] * 2 + [["red", "green", "blue"]]),
    )
    return workdir


def pictures(rng, size):
    """uint8 `[N, size, size, 3]`, N the number of captions."""
    return rng.integers(0, 256, (len(CAPTIONS), size, size, 3), dtype=np.uint8)


def entry(step, stage, **scalars):
    """A line of metrics.jsonl."""
    return json.dumps(
        {
            "step": step,
            "stage": stage,
            "time": 1.7e9 + step,
            "scalars": {f"train/{name}": value for name, value in scalars.items()},
        }
    )


def write_log(workdir, lines):
    """Writes metrics.jsonl."""
    (workdir / "metrics.jsonl").write_text("".join(line + "\n" for line in lines))


def write_attention(workdir, rng):
    """Maps where each word of index t has its peak in cell t of the first row."""
    words = np.full((len(WORDS), 6), "", dtype="U10")
    for row, text in zip(words, WORDS):
        row[: len(text)] = text
    maps = {
        size: np.full((len(WORDS), 6, size // 2, size // 2), 0.05, np.float32) for size in SIZES[1:]
    }
    for size, array in maps.items():
        for word in range(6):
            array[:, word, word * 2 // size, word % (size // 2)] = 0.1 * (word + 1)
    np.savez(
        workdir / "report" / "attention.npz",
        words=words,
        captions=np.array(CAPTIONS),
        **{f"image_{size}": pictures(rng, size) for size in SIZES},
        **{f"attention_{size}": array for size, array in maps.items()},
    )
    np.savez(
        workdir / "report" / "damsm_attention.npz",
        words=words,
        captions=np.array(CAPTIONS),
        image=pictures(rng, 16),
        attention=maps[8],
    )
