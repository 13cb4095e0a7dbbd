"""All scores of a run, `report/metrics.json`, and the arrays that its report draws."""

import contextlib
import functools
import json
import time
from collections.abc import Iterator

from absl import logging

from attngan_jax import plain_files
from attngan_jax.configuration import Config, load_workdir_config
from attngan_jax.errors import UserError
from attngan_jax.evaluation import measurements, preparation
from attngan_jax.evaluation import metric_blocks as blocks
from attngan_jax.evaluation.reference_statistics import write_reference
from attngan_jax.evaluation.saved_images import SavedImages
from attngan_jax.sampling.interpolations import save_interpolations
from attngan_jax.sampling.sample_writer import save_attention
from attngan_jax.storage import PathLike, write_text
from attngan_jax.training import multihost, out_of_memory
from attngan_jax.training.checkpoints import Checkpoints
from attngan_jax.training.progress import PARTS, StageClock, wall_seconds
from attngan_jax.workdir import Workdir, check_has_image_encoder

STAGE = "attngan"


class CheckpointGone(UserError):
    """The checkpoint to be scored does not exist (any more); the same in all processes."""


def evaluate(
    workdir: PathLike,
    *,
    step: int | None = None,
    settings: dict | None = None,
    data_dir: PathLike | None = None,
    save_images: PathLike | None = None,
    image_format: str = "png",
    save_fid_reference: PathLike | None = None,
) -> dict | None:
    """Scores a checkpoint on the test split and writes `report/`; returns the metrics.

    All processes of a run call this together; the first one adds up and writes, the others return
    None. `step`: by default the checkpoint that the run uses, the newest or the best. `settings`
    replace keys of `config.eval`, `data_dir` that of `config.data`. `save_images`: a folder for the
    generated images, of a format of `saved_images.FORMATS`. `save_fid_reference`: a file for the
    reference's mean and covariance.

    A metric that can't be had is None, with its reason. Raises `UserError` without a trained
    generator or the dataset, or a place for what is written, `CheckpointGone` where there is no
    checkpoint of `step` (any more); all before the first image.
    """
    run = Workdir(workdir)
    clock = StageClock(run.folder, "evaluate")
    newest, used = multihost.from_first(lambda: _newest_and_used(run, step), "steps")
    try:
        load = functools.partial(preparation.load, run, used, settings or {}, data_dir)
        subject = multihost.on_each(load, "load")
    except Exception as error:  # of any kind: in the other processes it is a UserError
        steps = functools.partial(Checkpoints.steps_in, run.folder, STAGE)
        if step is not None and step not in multihost.from_first(steps, "gone"):
            raise CheckpointGone(f"there is no checkpoint {step} in {run.stage(STAGE)}") from error
        raise
    config = subject.trained.config

    def prepare_outputs() -> SavedImages | None:
        preparation.check_outputs(run, subject, save_fid_reference)
        folder = save_images
        return preparation.saved_images(subject, folder, image_format) if folder else None

    saved = multihost.on_first(prepare_outputs, "outputs")
    with out_of_memory.explained(config, "eval"):
        return _score(
            subject, run, newest, clock, (save_images is not None, saved), save_fid_reference
        )


def _score(
    subject: measurements.Subject,
    run: Workdir,
    newest: int | None,
    clock: StageClock,
    saving: tuple[bool, SavedImages | None],
    save_fid_reference: PathLike | None,
) -> dict | None:
    trained, dataset, config = subject.trained, subject.dataset, subject.trained.config
    # DAMSM's features are this run's own; Inception's are of the dataset, for all its runs.
    folders = {"damsm": [run.reference], "fid": [dataset.folder / "reference", run.reference]}
    references = {
        name: measurements.measure_reference(subject, name, folders[name])
        for name in subject.compared
    }
    real = measurements.measure_real(subject)
    made, statistics, scores = measurements.measure_generated(subject, *saving)
    if subject.judges is not None:
        count = min(subject.plan.protocol.num_images, len(dataset.train))
        training_features = measurements.measure_training_images(subject, count)

    def write() -> dict:
        metrics: dict = {"step": trained.step, "newest_step": newest}
        metrics["newest_damsm_step"] = _newest_damsm_step(run)
        metrics |= {"dataset": config.data.dataset, "split": "test", "unit": "percent"}
        metrics["chosen_by"] = config.attngan.best_checkpoint or None
        metrics |= blocks.r_precisions(real, made, subject)
        metrics["damsm_retrieval"] = blocks.damsm_retrieval(real, config, run.folder)
        metrics |= dict.fromkeys((*blocks.JUDGED, "fid", "kid", "fid_damsm", "kid_damsm"))
        if subject.judges is not None:
            metrics |= blocks.judged(real, made, training_features, subject)
        for name, suffix in {"damsm": "_damsm", "fid": ""}.items():
            if reference := references.get(name):
                metrics |= blocks.distances(suffix, statistics[name], reference, subject)
        if save_fid_reference and (reference := references.get("fid")):
            write_reference(save_fid_reference, reference)
        metrics |= blocks.inception_scores(scores, subject)
        metrics |= {"reasons": blocks.reasons(metrics, subject), "settings": eval_settings(config)}
        save_attention(trained, dataset, run.folder)
        save_interpolations(trained, dataset, run.folder)
        clock.save()
        metrics["wall_seconds"] = dict.fromkeys(PARTS, 0.0) | wall_seconds(run.folder)
        write_text(run.metrics, json.dumps(metrics, indent=2) + "\n")
        log_scalars(run.folder, metrics)
        return metrics

    return multihost.on_first(write, "numbers")


def _newest_and_used(run: Workdir, step: int | None) -> tuple[int | None, int | None]:
    """The newest step, or None if another is scored than the run uses; and the step that is."""
    check_has_image_encoder(run.folder)
    best = load_workdir_config(run.folder).attngan.best_checkpoint
    if not Checkpoints.steps_in(run.folder, STAGE):
        return None, step
    with Checkpoints(run.folder, STAGE, best=best) as checkpoints:
        newest, used = checkpoints.latest_step(), checkpoints.best_step()
    return newest if step in (None, used) else None, step or used


def is_finished(workdir: PathLike, step: int, config: Config | None = None) -> bool:
    """Whether the run's checkpoint was scored with these settings, when `step` was the newest.

    Not if stage 1 has been trained further since, or another checkpoint is the best by now.
    """
    run = Workdir(workdir)
    try:
        metrics = json.loads(plain_files.read_text(run.metrics))
        damsm_step = _newest_damsm_step(run)
        same = metrics.get("newest_damsm_step", damsm_step) == damsm_step
        if config is not None:
            chosen_by = config.attngan.best_checkpoint or None
            older = (metrics.get("r_precision") or {}).get("chosen_by")
            same &= metrics.get("chosen_by", older) == chosen_by
            same &= metrics["settings"] == eval_settings(config)
        return metrics["newest_step"] == step and same
    except (FileNotFoundError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return False


def _newest_damsm_step(run: Workdir) -> int | None:
    return max(Checkpoints.steps_in(run.folder, "damsm"), default=None)


def eval_settings(config: Config) -> dict:
    """The part of the config that the scores depend on."""
    others = ("batch_size", "judge_batch_size", "judge_steps", "part_judge_steps")
    return {name: value for name, value in config.eval.to_dict().items() if name not in others}


def log_scalars(workdir: PathLike, metrics: dict) -> None:
    """Writes a line of `metrics.jsonl` and the event files, stage "eval"."""
    from attngan_jax.training.metric_writer import Metrics

    means = ["r_precision", "r_precision_real_images", "r_precision_independent"]
    means += ["attribute_accuracy", "inception_score", "inception_score_calibrated"]
    scalars = {f"eval/{name}": metrics[name]["mean"] for name in means if metrics.get(name)}
    for name in ("fid", "kid", "fid_damsm", "kid_damsm"):
        if block := metrics.get(name):
            scalars[f"eval/{name[:3]}_{block['family']}"] = block["value"]
    for name in ("fid_judge", "kid_judge"):
        if block := metrics.get(name):
            scalars[f"eval/{name}"] = block["value"]
    for band, ratio in (metrics.get("spectrum") or {}).items():
        scalars[f"eval/spectrum_{band}"] = ratio
    for part, shares in (metrics.get("part_presence") or {}).items():
        scalars[f"eval/part_presence_{part}"] = shares["generated"]
    for name, block in (metrics.get("grounding") or {}).items():
        if isinstance(block, dict) and block["mean"] is not None:
            scalars[f"eval/grounding_{name}"] = block["mean"]
    if scalars != _logged_scores(workdir).get(metrics["step"]):
        with contextlib.closing(Metrics(workdir, "eval")) as writer:
            writer.write(metrics["step"], scalars)


def log_if_missing(workdir: PathLike) -> None:
    """Logs the scores in `report/metrics.json` that a kill has kept out of `metrics.jsonl`."""
    metrics = json.loads(plain_files.read_text(Workdir(workdir).metrics))
    if metrics["step"] not in scored_steps(workdir):
        log_scalars(workdir, metrics)


def follow(
    workdir: PathLike,
    *,
    seconds: float,
    settings: dict | None = None,
    data_dir: PathLike | None = None,
) -> Iterator[dict | None]:
    """The metrics of each new checkpoint of stage 2, until the last one is scored.

    All processes of a run call this together, as `evaluate`. New is what is newer than the scores
    in `metrics.jsonl`, so that a second start continues; a checkpoint that the training deletes
    before its turn is skipped. `workdir` may be empty as yet; `seconds` lie between two looks.
    """
    run = Workdir(workdir)
    while True:
        new, done = multihost.from_first(lambda: _unscored(run), "follow")
        for step in new:
            try:
                yield evaluate(run.folder, step=step, settings=settings, data_dir=data_dir)
            except CheckpointGone:
                logging.info("checkpoint %d is gone already", step)
        if done:
            return
        if not new:
            text = f"waiting for a new checkpoint in {run.stage(STAGE)}"
            logging.log_first_n(logging.INFO, text, 1)
            time.sleep(seconds)


def _unscored(run: Workdir) -> tuple[list[int], bool]:
    """The steps to be scored, and whether none will follow."""
    if not run.config.exists():
        return [], False
    newest = max(scored_steps(run.folder), default=-1)
    new = [step for step in Checkpoints.steps_in(run.folder, STAGE) if step > newest]
    return new, not new and newest >= load_workdir_config(run.folder).attngan.num_train_steps


def scored_steps(workdir: PathLike) -> set[int]:
    """The steps of stage 2 whose scores are in `metrics.jsonl`."""
    return set(_logged_scores(workdir))


def _logged_scores(workdir: PathLike) -> dict[int, dict[str, float]]:
    """The newest scores of each step in `metrics.jsonl`."""
    log, scores = Workdir(workdir).metrics_log, {}
    broken = (ValueError, KeyError, TypeError, RecursionError)
    for line in plain_files.read_bytes(log).splitlines() if log.exists() else ():
        with contextlib.suppress(*broken):  # a line that is being written
            entry = json.loads(line.decode("utf-8", "replace"))
            if entry["stage"] == "eval":
                scores[entry["step"]] = entry["scalars"]
    return scores
