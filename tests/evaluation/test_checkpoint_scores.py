"""The best checkpoint of stage 2, by R-precision of few images."""

import jax

from attngan_jax.evaluation.checkpoint_scores import GeneratorScore
from attngan_jax.sampling.sample_writer import SampleWriter
from attngan_jax.sampling.trained_model import restore_stage
from attngan_jax.training import loop
from attngan_jax.training.attngan_task import AttnganTask
from attngan_jax.training.checkpoints import Checkpoints
from tests.training.one_device import encoders


def test_the_best_generator_is_kept_and_drawn_with(tiny_config, tiny_dataset, tmp_path):
    gan = tiny_config.attngan
    gan.num_train_steps, gan.checkpoint_every_steps, gan.scored_images = 4, 1, 20
    gan.best_checkpoint = "eval/r_precision"
    tiny_config.eval.num_candidates = 4
    task = AttnganTask(tiny_config, len(tiny_dataset.vocabulary))
    frozen = encoders(tiny_config, tiny_dataset)
    measure, found, given = GeneratorScore(task, tiny_dataset, frozen), [], [3.0, 1.0, 2.0, 0.5]

    def score(state):
        found.append(measure(state)["eval/r_precision"])
        assert measure(state)["eval/r_precision"] == found[-1]  # it draws the same images again
        return {"eval/r_precision": given[len(found) - 1]}

    loop.train(
        task,
        tiny_dataset,
        tmp_path,
        frozen=frozen,
        score=score,
        on_sample=SampleWriter(task, tiny_dataset, frozen, tmp_path),
    )
    assert len(found) == 4 and all(0 <= value <= 100 for value in found)
    assert Checkpoints.steps_in(tmp_path, "attngan") == [1, 3, 4]
    assert int(jax.device_get(restore_stage(task, tmp_path).step)) == 1
    assert loop.is_finished(task, tmp_path)
