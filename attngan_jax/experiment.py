"""A whole run: prepare, DAMSM, AttnGAN, evaluate, report; each part resumed or skipped."""

import dataclasses
import functools
import json

from absl import logging

from attngan_jax import configuration, storage
from attngan_jax.data import datasets, preparation
from attngan_jax.data.vocabulary import Vocabulary
from attngan_jax.evaluation import suite
from attngan_jax.evaluation.generator_score import GeneratorScore
from attngan_jax.evaluation.retrieval import RetrievalScore
from attngan_jax.evaluation.samples import SampleWriter
from attngan_jax.evaluation.trained import load_encoders
from attngan_jax.interop.import_run import check_has_image_encoder
from attngan_jax.reporting import page
from attngan_jax.training import (
    compilation_cache,
    hosts,
    loop,
    parallel,
    pretrained,
    shared_stage,
    wall_clock,
)
from attngan_jax.training.attngan_task import AttnganTask
from attngan_jax.training.damsm_task import DamsmTask
from attngan_jax.training.networks import Config


def train_and_evaluate(config: Config, workdir: storage.Place, *,
                       damsm_from: storage.Place | None = None) -> storage.Path | None:
    """Runs what is not done yet and returns the path of the report (None but in process 0).

    All processes of a run call this together, with one config and one workdir that all see.
    Where stage 1 is not begun and `damsm_from` is the workdir of a run that finished the same
    one, its copy is used.

    Raises `UserError` for a workdir of another config and for everything that a user can mend,
    `Stopped` at SIGTERM.
    """
    workdir = storage.path(workdir)
    trunk = pretrained.trunk_weights(config, workdir)
    check(config)
    compilation_cache.use(config.compilation_cache_dir)
    with hosts.first_goes_first("prepare"):
        configuration.save_workdir_config(config, workdir)
        check_has_image_encoder(workdir)
        if trunk is not None:
            pretrained.record(trunk, config.image_encoder.weights, workdir)
        dataset = prepare(config, workdir)
        if damsm_from is not None:
            shared_stage.take_damsm(config, workdir, damsm_from)

    damsm = DamsmTask(config, len(dataset.vocabulary))
    attngan = AttnganTask(config, len(dataset.vocabulary))
    if _is_finished(attngan, workdir):
        logging.info("both stages are trained already")
    else:
        if not _is_finished(damsm, workdir):
            loop.train(damsm, dataset, workdir, score=RetrievalScore(damsm, dataset),
                       start=trunk and functools.partial(pretrained.with_trunk, weights=trunk))
        encoders = load_encoders(config, len(dataset.vocabulary), workdir)
        r_precision = None
        if config.attngan.best_checkpoint:
            r_precision = GeneratorScore(attngan, dataset, encoders)
        loop.train(attngan, dataset, workdir, frozen=encoders, score=r_precision,
                   on_sample=hosts.is_first() and SampleWriter(
                       attngan, dataset, parallel.on_this_host(encoders), workdir))
    if not hosts.from_first(lambda: suite.is_finished(workdir, config.attngan.num_train_steps,
                                                      config), "scored"):
        suite.evaluate(workdir)
    return hosts.on_first(lambda: page.write_report(workdir), "report")


def _is_finished(task, workdir: storage.Path) -> bool:
    return hosts.from_first(lambda: loop.is_finished(task, workdir), f"{task.name} is finished")


def check(config: Config) -> None:
    """`UserError` for what would stop the run hours later, or leave it a workdir of no use."""
    configuration.check(config)
    datasets.check(config)
    mesh = parallel.make_mesh()
    for stage in ("damsm", "attngan"):
        parallel.check_stage(config, stage, mesh)
    parallel.check_batch_size(config.eval.batch_size, mesh, "config.eval.batch_size")


def prepare(config: Config, workdir: storage.Path) -> datasets.Dataset:
    """Builds the data set if it is missing, opens it, and keeps its vocabulary in the workdir.

    A workdir that has a vocabulary keeps it: its networks know these words, in this order.
    """
    clock = wall_clock.Clock(workdir, "prepare")
    if datasets.prepare(config):
        logging.info("the data set is built\n%s", preparation.table(datasets.report(config)))
    dataset = datasets.load(config)
    report = datasets.report(config)
    if report is not None:
        configuration.write_text(workdir / preparation.REPORT_FILE,
                                 json.dumps(report, indent=2) + "\n")
    if "prepare" not in wall_clock.read(workdir):
        clock.save()
    path = workdir / "vocabulary.txt"
    if path.exists():
        return dataclasses.replace(dataset, vocabulary=Vocabulary.load(path))
    dataset.vocabulary.save(path)
    return dataset
