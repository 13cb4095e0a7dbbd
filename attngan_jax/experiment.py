"""A whole run: prepare, DAMSM, AttnGAN, evaluate, report; each part resumed or skipped."""

import dataclasses
import functools
import json

from absl import logging

from attngan_jax import configuration, storage
from attngan_jax.configuration import Config
from attngan_jax.data import dataset_report, datasets
from attngan_jax.data.vocabulary import Vocabulary
from attngan_jax.evaluation import checkpoint_scores, suite
from attngan_jax.reporting import page
from attngan_jax.sampling.sample_writer import SampleWriter
from attngan_jax.sampling.trained_model import load_encoders
from attngan_jax.training import loop, multihost, parallel, warm_start
from attngan_jax.training.attngan_task import AttnganTask
from attngan_jax.training.checkpoints import Checkpoints, StageClock, wall_seconds
from attngan_jax.training.damsm_task import DamsmTask
from attngan_jax.workdir import Workdir, check_has_image_encoder


def train_and_evaluate(
    config: Config, workdir: storage.PathLike, *, damsm_from: storage.PathLike | None = None
) -> storage.Path | None:
    """Runs what is not done yet and returns the path of the report (None but in process 0).

    All processes of a run call this together, with one config and one workdir that all see.
    Where stage 1 is not begun and `damsm_from` is the workdir of a run that finished the same
    one, its copy is used.

    Raises `UserError` for a workdir of another config and for everything that a user can fix,
    `Stopped` at SIGTERM or Ctrl-C while it trains.
    """
    workdir = storage.path(workdir)
    trunk = warm_start.trunk_weights(config, workdir)
    check(config)
    devices = parallel.make_mesh().devices
    kind = f"{devices.size} {devices[0].platform.upper()} device{'s' * (devices.size > 1)}"
    logging.info("%s on %s, in %s", config.name, kind, workdir)
    parallel.use_compilation_cache(config.compilation_cache_dir)
    with multihost.first_goes_first("prepare"):
        configuration.save_workdir_config(config, workdir)
        check_has_image_encoder(workdir)
        if trunk is not None:
            warm_start.record(trunk, config.image_encoder.weights, workdir)
        dataset = prepare(config, workdir)
        checkpoint_scores.check_test_split(config, dataset)
        if damsm_from is not None:
            warm_start.take_damsm(config, workdir, damsm_from)

    damsm = DamsmTask(config, len(dataset.vocabulary))
    attngan = AttnganTask(config, len(dataset.vocabulary))
    has_generator = _is_finished(attngan, workdir)
    has_damsm = _is_finished(damsm, workdir) or (
        has_generator and not Checkpoints.steps_in(workdir, damsm.name)  # deleted since
    )
    if not has_damsm:
        if Checkpoints.steps_in(workdir, attngan.name):
            logging.warning("stage 1 is trained further than stage 2 has known it so far")
        loop.train(
            damsm,
            dataset,
            workdir,
            score=checkpoint_scores.RetrievalScore(damsm, dataset),
            start=trunk and functools.partial(warm_start.with_trunk, weights=trunk),
        )
    if not has_generator:
        encoders = load_encoders(config, len(dataset.vocabulary), workdir)
        score, on_sample = None, None
        if config.attngan.best_checkpoint:
            score = checkpoint_scores.GeneratorScore(attngan, dataset, encoders)
        if multihost.is_first():
            here = parallel.on_this_host(encoders)
            on_sample = SampleWriter(attngan, dataset, here, workdir)
        loop.train(attngan, dataset, workdir, frozen=encoders, score=score, on_sample=on_sample)
    steps = config.attngan.num_train_steps
    if not multihost.from_first(lambda: suite.is_finished(workdir, steps, config), "scored"):
        suite.evaluate(workdir)
    return multihost.on_first(lambda: page.write_report(workdir), "report")


def _is_finished(task, workdir: storage.Path) -> bool:
    return multihost.from_first(lambda: loop.is_finished(task, workdir), f"{task.name} is finished")


def check(config: Config) -> None:
    """`UserError` for what would stop the run hours later, or leave it a workdir of no use."""
    configuration.check(config)
    datasets.check(config)
    checkpoint_scores.check_judges(config)
    mesh = parallel.make_mesh()
    for stage in ("damsm", "attngan"):
        parallel.check_stage(config, stage, mesh)
    parallel.check_batch_size(config.eval.batch_size, mesh, "config.eval.batch_size")


def prepare(config: Config, workdir: storage.Path) -> datasets.Dataset:
    """Builds the dataset if it is missing, opens it, and keeps its vocabulary in the workdir.

    A workdir that has a vocabulary keeps it: its networks know these words, in this order.
    """
    clock = StageClock(workdir, "prepare")
    was_built = datasets.prepare(config)
    dataset = datasets.load(config)
    report = dataset.report
    if was_built and report:
        logging.info("the dataset is built\n%s", dataset_report.table(report))
    if report is not None:
        storage.write_text(Workdir(workdir).prepare_report, json.dumps(report, indent=2) + "\n")
    if "prepare" not in wall_seconds(workdir):
        clock.save()
    path = Workdir(workdir).vocabulary
    if path.exists():
        return dataclasses.replace(dataset, vocabulary=Vocabulary.load(path))
    dataset.vocabulary.save(path)
    return dataset
