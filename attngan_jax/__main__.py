"""The commands by name: `python -m attngan_jax NAME ...`, or `attngan NAME ...` where installed.

`attngan NAME` is `python -m attngan_jax.NAME`; without a name the commands are listed.
"""

import ast
import difflib
import pathlib
import runpy
import sys

from attngan_jax import console

COMMANDS = "main prepare evaluate sample report convert published demo ablation".split()
COMMANDS += "compile_check train_judges".split()


def main() -> None:
    """Runs the command that the first argument names; never returns from one that ran."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in ("--help", "-h", "help"):
        console.prepare_streams()
        print(_overview())
    elif name in COMMANDS:
        del sys.argv[1]
        runpy.run_module(f"attngan_jax.{name}", run_name="__main__", alter_sys=True)
    else:
        closest = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean {closest[0]}?" if closest else f"choose one of {', '.join(COMMANDS)}"
        print(f"error: there is no command {name!r}: {hint}", file=sys.stderr)
        sys.exit(2)


def _overview() -> str:
    """The commands, each with the first line of its file."""
    folder = pathlib.Path(__file__).parent
    sources = {name: (folder / f"{name}.py").read_text("utf-8") for name in COMMANDS}
    texts = {name: ast.get_docstring(ast.parse(text)) or "" for name, text in sources.items()}
    jobs = {name: text.splitlines()[0].partition(":")[0] for name, text in texts.items()}
    lines = [f"  {name:<15}{job.rstrip('.')}" for name, job in jobs.items()]
    return "\n".join(
        ["attngan COMMAND FLAGS, or python -m attngan_jax.COMMAND FLAGS:", "", *lines, ""]
        + ["attngan COMMAND --help lists the flags of one."]
    )


if __name__ == "__main__":
    main()
