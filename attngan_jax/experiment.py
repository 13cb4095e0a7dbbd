"""A whole run: prepare, DAMSM, AttnGAN, evaluate, report; each part resumed or skipped."""

import contextlib
import dataclasses
import functools
import json

from absl import logging

from attngan_jax import configuration, storage
from attngan_jax.configuration import Config
from attngan_jax.data import dataset_checks, dataset_report, datasets, workdir_vocabulary
from attngan_jax.evaluation import checkpoint_scores, preparation, suite
from attngan_jax.interop.inception_weights import InceptionWeights
from attngan_jax.reporting import page
from attngan_jax.sampling.sample_writer import SampleWriter
from attngan_jax.sampling.trained_model import load_encoders
from attngan_jax.training import (
    checkpoints,
    loop,
    multihost,
    out_of_memory,
    parallel,
    warm_start,
    workdir_lock,
)
from attngan_jax.training.attngan_task import AttnganTask
from attngan_jax.training.checkpoints import Checkpoints
from attngan_jax.training.damsm_task import DamsmTask
from attngan_jax.training.progress import StageClock, wall_seconds
from attngan_jax.training.state import abstract_state
from attngan_jax.workdir import Workdir, check_has_image_encoder


def train_and_evaluate(
    config: Config,
    workdir: storage.PathLike,
    *,
    damsm_from: storage.PathLike | None = None,
    restart_damaged: bool = False,
) -> storage.Path | None:
    """Runs what is not done yet and returns the path of the report (None but in process 0).

    All processes of a run call this together, with one config and one workdir that all see.
    Where stage 1 is not begun and `damsm_from` is the workdir of a run that finished the same
    one, its copy is used.

    Raises `UserError` for a workdir of another config and for everything that a user can fix,
    `Stopped` at SIGTERM or Ctrl-C while it trains.
    """
    workdir = storage.path(workdir)
    parallel.split_cpu(config.cpu_devices)
    trunk = warm_start.trunk_weights(config, workdir)
    check(config, workdir)
    devices = parallel.make_mesh().devices
    kind = f"{devices.size} {devices[0].platform.upper()} device{'s' * (devices.size > 1)}"
    logging.info("%s on %s, in %s", config.name, kind, workdir)
    parallel.use_compilation_cache(config.compilation_cache_dir)
    with contextlib.ExitStack() as stack:
        multihost.on_first(lambda: stack.enter_context(workdir_lock.held(workdir)), "lock")
        mend = functools.partial(_set_aside_damaged, config, workdir, restart_damaged)
        restarted = multihost.from_first(mend, "damaged")
        if DamsmTask.name in restarted:
            trunk = warm_start.trunk_weights(config, workdir)
        return _run(config, workdir, trunk, damsm_from, restarted)


def _set_aside_damaged(config: Config, workdir: storage.Path, restart: bool) -> list[str]:
    """Sees to it that the newest checkpoints are whole; returns the stages that start again."""
    configuration.check_same_run(config, workdir)
    check_has_image_encoder(workdir)
    restarted = []
    for stage in (DamsmTask.name, AttnganTask.name):
        steps = Checkpoints.steps_in(workdir, stage)
        checkpoints.set_aside_damaged(
            workdir, stage, best=config[stage].best_checkpoint, restart=restart
        )
        if steps and not Checkpoints.steps_in(workdir, stage):
            restarted.append(stage)
    return restarted


def _run(
    config: Config,
    workdir: storage.Path,
    trunk: InceptionWeights | None,
    damsm_from: storage.PathLike | None,
    restarted: list[str],
) -> storage.Path | None:
    with multihost.first_goes_first("prepare"):
        dataset = prepare(config, workdir, damsm_from)
        if trunk is not None:
            warm_start.record(trunk, config.image_encoder.weights, workdir)
        if damsm_from is not None:
            warm_start.take_damsm(config, workdir, damsm_from)

    damsm = DamsmTask(config, len(dataset.vocabulary))
    attngan = AttnganTask(config, len(dataset.vocabulary))
    has_generator = _is_finished(attngan, workdir)
    has_damsm = _is_finished(damsm, workdir) or (
        has_generator
        and not Checkpoints.steps_in(workdir, damsm.name)  # deleted since
        and damsm.name not in restarted
    )
    if not has_damsm:
        if Checkpoints.steps_in(workdir, attngan.name):
            logging.warning("stage 1 is trained further than stage 2 has known it so far")
        start = trunk and functools.partial(warm_start.with_trunk, weights=trunk)
        with out_of_memory.explained(config, damsm.name):
            score = checkpoint_scores.RetrievalScore(damsm, dataset)
            loop.train(damsm, dataset, workdir, score=score, start=start)
    if not has_generator:
        with out_of_memory.explained(config, attngan.name):
            _train_generator(attngan, dataset, workdir)
    steps = config.attngan.num_train_steps
    if not multihost.from_first(lambda: suite.is_finished(workdir, steps, config), "scored"):
        logging.info("scores (stage 3 of 3)")
        suite.evaluate(workdir)
    else:
        multihost.on_first(lambda: suite.log_if_missing(workdir), "logged")
    return multihost.on_first(lambda: page.write_report(workdir), "report")


def _train_generator(task: AttnganTask, dataset: datasets.Dataset, workdir: storage.Path) -> None:
    config = task.config
    encoders = load_encoders(config, len(dataset.vocabulary), workdir)
    score, on_sample = None, None
    if config.attngan.best_checkpoint:
        score = checkpoint_scores.GeneratorScore(task, dataset, encoders)
    if multihost.is_first():
        here = parallel.on_this_host(encoders)
        on_sample = SampleWriter(task, dataset, here, workdir)
    loop.train(task, dataset, workdir, frozen=encoders, score=score, on_sample=on_sample)


def _is_finished(task, workdir: storage.Path) -> bool:
    return multihost.from_first(lambda: loop.is_finished(task, workdir), f"{task.name} is finished")


def check(config: Config, workdir: storage.PathLike) -> None:
    """`UserError` for what would stop the run hours later, or leave it a workdir of no use.

    Reads what the scores need, and counts a stage's memory, where that is not finished yet.
    """
    configuration.check(config)
    datasets.check(config)
    checkpoint_scores.check_judges(config)
    mesh = parallel.make_mesh()
    for stage in ("damsm", "attngan"):
        parallel.check_stage(config, stage, mesh)
    for task in (DamsmTask(config, 2), AttnganTask(config, 2)):
        state = abstract_state(task.create_train_state, config)
        if not loop.is_finished(task, workdir):
            out_of_memory.check_state(state, config, task.name, mesh.size)
    if not suite.is_finished(workdir, config.attngan.num_train_steps, config):
        preparation.check_files(config)
    parallel.check_batch_size(config.eval.batch_size, mesh, "config.eval.batch_size")


def prepare(
    config: Config, workdir: storage.Path, damsm_from: storage.PathLike | None = None
) -> datasets.Dataset:
    """Builds the dataset if it is missing, opens it, and keeps its vocabulary in the workdir.

    The workdir's config is written, too, once the dataset is there and fits the config and the
    run in `damsm_from`: what is refused leaves no workdir.
    A workdir that has a vocabulary keeps it: its networks know these words, in this order.
    """
    clock = StageClock(workdir, "prepare")
    was_built = datasets.prepare(config)
    dataset = datasets.load(config)
    checkpoint_scores.check_test_split(config, dataset)
    if damsm_from is not None and not Workdir(workdir).vocabulary.exists():
        warm_start.check_damsm(config, damsm_from, dataset.vocabulary.content)
    dataset_checks.warn(config, dataset)
    configuration.save_workdir_config(config, workdir)
    report = dataset.report
    if was_built and report:
        logging.info("the dataset is built\n%s", dataset_report.table(report))
    if report is not None:
        storage.write_text(Workdir(workdir).prepare_report, json.dumps(report, indent=2) + "\n")
    if "prepare" not in wall_seconds(workdir):
        clock.save()
    vocabulary = workdir_vocabulary.keep(Workdir(workdir), dataset.vocabulary)
    return dataclasses.replace(dataset, vocabulary=vocabulary)
