"""All numbers of a run, and the arrays that its report draws: `report/metrics.json` and `.npz`."""

import dataclasses
import json
import os
import pathlib

import jax
import numpy as np
from absl import logging
from tqdm import tqdm

from attngan_jax.configuration import write_text
from attngan_jax.data import datasets, pipeline
from attngan_jax.data.birds.species import ATTRIBUTES, BODY_COLORS, COLOR_ATTRIBUTES
from attngan_jax.evaluation import judges, r_precision
from attngan_jax.evaluation.explorations import save_explorations
from attngan_jax.evaluation.samples import Spread, save_arrays
from attngan_jax.evaluation.trained import Trained
from attngan_jax.interop.import_run import check_has_image_encoder
from attngan_jax.losses.damsm import region_attention
from attngan_jax.training import parallel, wall_clock
from attngan_jax.training.damsm_task import word_mask

NUM_SHOWN = 16  # captions whose attention the report shows


def evaluate(workdir: str | os.PathLike) -> dict:
    """Scores the newest checkpoint on the test split and writes `report/`; returns the metrics.

    Raises `UserError` for a workdir without a trained generator or a data set that is missing.
    """
    workdir = pathlib.Path(workdir)
    clock = wall_clock.Clock(workdir, "evaluate")
    check_has_image_encoder(workdir)
    trained = Trained.load(workdir)
    config = trained.config
    dataset = dataclasses.replace(datasets.load(config), vocabulary=trained.vocabulary)
    features = generate_and_encode(trained, dataset.test)
    metrics = {"step": trained.step, "dataset": config.data.dataset, "split": "test",
               "unit": "percent"}
    metrics |= score_r_precision(features, config)
    reasons = {
        "inception_score": "not computed: it needs the weights of an Inception classifier",
        "fid": "not computed: it needs Inception weights and reference statistics"}
    if "attributes" in features:
        metrics |= score_attributes(features, dataset, config)
    else:
        metrics["attribute_accuracy"] = None
        reasons["attribute_accuracy"] = f"{config.data.dataset} has no record of what it shows"
    metrics |= {"inception_score": None, "fid": None, "reasons": reasons}
    save_attention(trained, dataset, workdir / "report")
    save_explorations(trained, dataset, workdir / "report")
    clock.save()
    metrics["wall_seconds"] = dict.fromkeys(wall_clock.PARTS, 0.0) | wall_clock.read(workdir)
    write_text(workdir / "report" / "metrics.json", json.dumps(metrics, indent=2) + "\n")
    return metrics


def is_finished(workdir: str | os.PathLike, step: int) -> bool:
    """Whether the checkpoint of `step` has been scored."""
    path = pathlib.Path(workdir) / "report" / "metrics.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))["step"] == step
    except (FileNotFoundError, ValueError, KeyError):
        return False


def generate_and_encode(trained: Trained, split) -> dict[str, np.ndarray]:
    """Makes an image for each test caption and encodes it, the real image and the caption.

    Returns arrays of `config.eval.num_images` rows: `made` and `real` uint8 `[N, S, S, 3]` (for
    data with attributes), `made_code`, `real_code`, `sentence` `[N, D]`, `class_id`, `index` and,
    where the data has them, `attributes` and `caption_attributes` `[N, A]`.
    """
    config, mesh = trained.config, parallel.make_mesh()
    size = trained.task.image_sizes[-1]
    parallel.check_batch_size(config.eval.batch_size, mesh, "config.eval.batch_size")
    batches = pipeline.eval_batches(
        split, config, vocabulary=trained.vocabulary, batch_size=config.eval.batch_size,
        image_sizes=sorted({size, config.image_encoder.image_size}),
        num_examples=r_precision.Protocol.of_config(config.eval).num_images)

    def features(variables, batch):
        made = trained.synthesise(variables, batch)
        _, code = trained.encode_images(variables, batch["real"])
        return {"made": made[f"image_{size}"], "made_code": made["code"],
                "sentence": made["sentence"], "real_code": code}

    features = parallel.parallel_map(features, mesh)
    variables = jax.device_put(trained.variables, parallel.replicated(mesh))
    rows, start = [], 0
    for batch in tqdm(batches, desc="Test captions", unit=" batches"):
        count = len(batch["caption"])
        inputs = {"caption": batch["caption"], "caption_length": batch["caption_length"],
                  "number": np.arange(start, start + count, dtype=np.int32),
                  "real": batch[f"image_{config.image_encoder.image_size}"]}
        row = jax.device_get(features(variables, parallel.shard_batch(inputs, mesh)))
        row |= {"class_id": batch["class_id"], "index": batch["index"]}
        if "attributes" in batch:
            row |= {"attributes": batch["attributes"], "real": batch[f"image_{size}"],
                    "caption_attributes": batch["caption_attributes"]}
        else:
            del row["made"]  # 30,000 photographs at 256 pixels would be 5.9 GB
        rows.append({name: value[batch["valid"]] for name, value in row.items()})
        start += count
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def score_r_precision(features: dict[str, np.ndarray], config) -> dict:
    """`r_precision` of the generated and `r_precision_real_images` of the real images."""
    result = {}
    protocol = r_precision.Protocol.of_config(config.eval)
    for name, key in (("r_precision", "made_code"), ("r_precision_real_images", "real_code")):
        result[name] = r_precision.score(features[key], features["sentence"], features["class_id"],
                                         features["index"], protocol, config.seed)
    return result


def score_attributes(features, dataset, config) -> dict:
    """`attribute_accuracy` of generated and, as its ceiling, of real test images.

    The mean is over the five colours of the plumage, with ten values each; the beak's colour, with
    six and a few pixels at 64, has its own row and is in `mean_with_beak`.
    """
    size = features["made"].shape[1]
    train = pipeline.eval_batches(dataset.train, config, vocabulary=dataset.vocabulary,
                                  batch_size=250, image_sizes=(size,))
    rows = [(b[f"image_{size}"][b["valid"]], b["attributes"][b["valid"]])
            for b in tqdm(train, desc="Real pictures for the judge", unit=" batches")]
    images, attributes = (np.concatenate(column) for column in zip(*rows))
    judge = judges.train_judge(
        images, attributes, tuple(len(values) for values in ATTRIBUTES.values()),
        num_steps=config.eval.judge_steps, batch_size=config.eval.judge_batch_size,
        seed=config.seed)
    result = {}
    for key, pictures in (("attribute_accuracy", "made"),
                          ("attribute_accuracy_real_images", "real")):
        scores = judges.attribute_accuracy(judge.predict(features[pictures]),
                                           features["caption_attributes"], tuple(ATTRIBUTES))
        plumage = [scores[name] for name in BODY_COLORS if name in scores]
        colours = [scores[name] for name in COLOR_ATTRIBUTES if name in scores]
        result[key] = {"mean": float(np.mean([c["accuracy"] for c in plumage])),
                       "chance": float(np.mean([c["chance"] for c in plumage])),
                       "mean_with_beak": float(np.mean([c["accuracy"] for c in colours]))} | scores
    return result


def save_attention(trained: Trained, dataset, folder: pathlib.Path) -> None:
    """Writes the word maps that the report shows: the generator's, and DAMSM's on real images."""
    config = trained.config
    batch = next(iter(pipeline.eval_batches(
        Spread(dataset.test, NUM_SHOWN), config, vocabulary=trained.vocabulary,
        batch_size=NUM_SHOWN, image_sizes=(config.image_encoder.image_size,))))
    batch["number"] = np.arange(NUM_SHOWN, dtype=np.int32)
    inputs = {name: batch[name] for name in ("caption", "caption_length", "number")}
    made = jax.device_get(jax.jit(
        lambda v, b: trained.synthesise(v, b, with_attention=True))(trained.variables, inputs))
    words = np.where(batch["caption"] > 0, np.array(trained.vocabulary.words)[batch["caption"]], "")
    captions = np.array([" ".join(word for word in row if word) for row in words])
    arrays = {name: value for name, value in made.items() if name.startswith("image_")}
    arrays |= {name: value.transpose(0, 3, 1, 2) for name, value in made.items()
               if name.startswith("attention_")}
    folder.mkdir(parents=True, exist_ok=True)
    if any(name.startswith("attention_") for name in arrays):
        save_arrays(folder / "attention.npz", words=words, captions=captions, **arrays)

    images = batch[f"image_{config.image_encoder.image_size}"]
    regions, _ = trained.encode_images(trained.variables, images)
    embedded, _ = trained.encode_captions(trained.variables, inputs)
    pairs = jax.vmap(lambda w, m, r: region_attention(
        w[None], m[None], r[None], gamma1=config.damsm.gamma1)[0][0, 0])
    maps = np.asarray(pairs(embedded, word_mask(inputs), regions))
    side = int(maps.shape[-1] ** 0.5)
    save_arrays(folder / "damsm_attention.npz", words=words, captions=captions, image=images,
                attention=maps.reshape(*maps.shape[:2], side, side))
    logging.info("attention maps written to %s", folder)
