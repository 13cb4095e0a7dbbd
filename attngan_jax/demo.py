"""Serves a page to generate images in a browser: flags and one call.

python -m attngan_jax.demo --model PATH_OR_NAME [--host ADDRESS] [--port N]
"""

from absl import flags

from attngan_jax import cli

_MODEL = flags.DEFINE_string(
    "model", None, "Folder of a trained run or a model; or a model's name.", required=True
)
_HOST = flags.DEFINE_string(
    "host", "127.0.0.1", "Address to listen at: 0.0.0.0 lets other machines in."
)
_PORT = flags.DEFINE_integer("port", 7860, "Port to listen at; 0 takes a free one.", 0, 65535)


def main(argv):
    """Serves until Ctrl-C."""
    cli.no_arguments(argv)
    print(f"Loading {_MODEL.value} ...", flush=True)
    cli.keep_programs()
    from attngan_jax.sampling import demo_server

    demo_server.serve(_MODEL.value, _HOST.value, _PORT.value)


if __name__ == "__main__":
    cli.run(main)
