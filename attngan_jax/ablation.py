"""Writes the table and the figure of the ablation's runs: flags and one call.

python -m attngan_jax.ablation --runs runs/ablation
"""

from absl import flags

from attngan_jax import cli

_RUNS = flags.DEFINE_string("runs", None, "Folder that launch/ablation.sh filled.", required=True)


def main(argv):
    """Writes RUNS/report/ from what is finished so far and says where it is."""
    cli.no_arguments(argv)
    from attngan_jax.reporting.ablation import write_report

    print(write_report(_RUNS.value))


if __name__ == "__main__":
    cli.run(main)
