"""Writes `WORKDIR/report/index.html` from what a run has written so far.

python -m attngan_jax.report --workdir runs/procedural_birds
"""

from absl import flags

from attngan_jax import cli
from attngan_jax.reporting import page

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.", required=True)


def main(argv):
    """Writes the page and says where it is."""
    cli.no_arguments(argv)
    print(page.write_report(_WORKDIR.value))


if __name__ == "__main__":
    cli.run(main)
