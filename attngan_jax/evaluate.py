"""Scores a trained run and writes its report: flags and one call.

    python -m attngan_jax.evaluate --workdir DIR
"""

from absl import flags

from attngan_jax import door

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.")
flags.mark_flag_as_required("workdir")


def main(argv):
    """Writes report/metrics.json and the page around it."""
    door.no_arguments(argv)
    from attngan_jax.evaluation.suite import evaluate
    from attngan_jax.reporting.page import write_report

    metrics = evaluate(_WORKDIR.value)
    for name in ("r_precision", "r_precision_real_images"):
        print(f"{name}: {metrics[name]['mean']:.2f} +- {metrics[name]['std']:.2f} %")
    if metrics["attribute_accuracy"]:
        print(f"attribute_accuracy: {metrics['attribute_accuracy']['mean']:.2f} % "
              f"(chance {metrics['attribute_accuracy']['chance']:.2f} %)")
    print(f"The report is {write_report(_WORKDIR.value)}")


if __name__ == "__main__":
    door.run(main)
