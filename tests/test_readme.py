"""Every command and every snippet of README is executed, or it is said here why not.

The commands run in a folder made like a user's: `configs/` has the tiny twins of the configs,
`runs/` a finished run, and beside them lie the files that README names.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from typing import NamedTuple

import pytest

from attngan_jax.__main__ import COMMANDS
from attngan_jax.data.vocabulary import Vocabulary
from attngan_jax.workdir import Workdir
from tests import made_up_sources
from tests.tiny_runs import ROOT

README = (ROOT / "README.md").read_text()
FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
PYTHONS = ["pip", "python", "python3", ".venv/bin/pip", ".venv/bin/python"]
STARTS = [[word] for word in ["bash", "attngan", *PYTHONS, *COMMANDS]]  # of commands


class Run(NamedTuple):
    """How a command is executed."""

    command: str = ""  # with what stands for something filled in; "": as README has it
    writes: str = ""
    says: str = ""
    code: int = 0


PIP = "needs a network: what it names is checked below, tests/test_package.py installs the wheel"
SCRIPT = "installs and runs for minutes: tests/test_launch.py has it with stand-ins for both"
OTHERWISE = {
    "pip install .": PIP,
    "pip install -r requirements-gcs.txt": PIP,
    "pip install tensorboard": PIP,
    ".venv/bin/pip install -r requirements.txt": PIP,
    ".venv/bin/pip install -r requirements.txt 'jax[tpu]'": PIP,
    ".venv/bin/pip install -r requirements.txt 'jax[cuda13]'": PIP,
    ".venv/bin/pip install -r requirements-gcs.txt": PIP,
    "python3 -m venv .venv": "launch/environment.sh does so, in tests/test_launch.py",
    "bash launch/quickstart.sh": SCRIPT,
    "bash launch/test.sh": SCRIPT,
    "bash launch/ablation.sh": SCRIPT,
    "attngan NAME": "stands for all of them: tests/test_package.py",
    "python -m attngan_jax.": "the head of the table of commands",
    "convert import ...": "written out further down",
    "convert export ...": "written out further down",
    "convert classifier": "only named: its flags are in docs/evaluation.md",
    "evaluate --workdir DIR [--eval.KEY=VALUE ...] [--follow] [--save_images DIR]": (
        "tests/test_whole_run.py"
    ),
    "ablation --runs DIR": "tests/reporting/test_ablation.py",
    "compile_check --config C --topology v5e:2x4": "tests/test_compile_check.py",
}
MAIN = "python -m attngan_jax.main"
EXECUTED = {
    ".venv/bin/python -m attngan_jax.main --config configs/procedural_birds.py "
    "--config.attngan.damsm_weight=1.0 --workdir runs/little_damsm": Run(
        writes="runs/little_damsm/report/index.html"  # a finished run of this very weight
    ),
    ".venv/bin/python -m attngan_jax.sample --workdir runs/procedural_birds --out out --attention "
    '--caption "a small red bird with black wings and a short yellow beak"': Run(
        writes="out/grid.png out/caption_000_image_0_attention.png"
    ),
    "python -m attngan_jax.convert export --workdir runs/procedural_birds --out my-birds": Run(
        writes="my-birds/config.json my-birds/vocabulary.txt my-birds/model.safetensors "
        "my-birds/README.md"
    ),
    "python -m attngan_jax.prepare --config configs/folder.py --source FOLDER": Run(
        says="training and"
    ),
    f"{MAIN} --config configs/folder.py "
    "--config.image_encoder.weights=inception_v3_google-0cc3c7bd.pth": Run(
        says="weights inception_v3_google-0cc3c7bd.pth cannot be read", code=1
    ),
    "python -m attngan_jax.published cub --out cub-birds": Run(
        "python -m attngan_jax.published cub --out other --mirror nowhere",
        says="nowhere/bird_AttnGAN2.pth cannot be read",
        code=1,
    ),
    "python -m attngan_jax.sample --workdir cub-birds --out out "
    '--caption "this bird is red with black wings"': Run(writes="out/grid.png"),
    "python -m attngan_jax.convert import --config configs/cub.py --workdir runs/original "
    "--generator bird_AttnGAN2.pth --text_encoder text_encoder200.pth "
    "--image_encoder image_encoder200.pth --captions captions.pickle "
    "--config.generator.legacy_mask=True": Run(
        "python -m attngan_jax.convert import --config configs/cub.py --workdir runs/original "
        "--generator my-birds/netG.safetensors --text_encoder my-birds/text_encoder.safetensors "
        "--image_encoder my-birds/image_encoder.safetensors --captions captions.pickle "
        "--config.generator.legacy_mask=True --config.generator.num_residual_blocks=1",
        writes="runs/original/config.json",
    ),
    "python -m attngan_jax.convert export --workdir runs/original --out exported": Run(
        writes="exported/netG.safetensors"
    ),
    "python -m attngan_jax.demo --model runs/procedural_birds": Run(
        "python -m attngan_jax.demo --model runs/procedural_birds --port 0", says="Ctrl-C ends"
    ),
    "convert import --model my-birds --workdir DIR": Run(writes="DIR/config.json"),
    "main --config C [--workdir DIR] [--config.KEY=VALUE ...]": Run(
        "main --config configs/procedural_birds.py", writes="runs/tiny_birds/report/index.html"
    ),
    "prepare --config C [--source FOLDER]": Run(
        "prepare --config configs/procedural_birds.py", says="45 training and 15 test images"
    ),
    "sample --workdir DIR --out DIR --caption TEXT ...": Run(
        "sample --workdir my-birds --out more --caption 'a red bird'", writes="more/grid.png"
    ),
    "demo --model PATH_OR_NAME [--port N]": Run(
        "demo --model procedural-birds --port 0", says="Ctrl-C ends"
    ),
    "report --workdir DIR": Run(
        "report --workdir runs/procedural_birds", writes="runs/procedural_birds/report/index.html"
    ),
    "published cub [--out DIR]": Run(
        "published cub --mirror nowhere", says="bird_AttnGAN2.pth cannot be read", code=1
    ),
    "convert classifier ...": Run(
        "convert classifier --source a.pth --out a.safetensors", says="a.pth", code=1
    ),
    "train_judges --config configs/judges.py --out DIR": Run(
        "train_judges --config configs/folder.py --out judges",
        says="error: judges are trained on procedural_birds",
        code=1,
    ),
    "prepare --config configs/cub.py --source FOLDER": Run(
        "prepare --config configs/cub.py --source CUB", says="15 training and 9 test images"
    ),
    "sample --workdir runs/folder": Run(
        "sample --workdir runs/procedural_birds --out of_folder --caption 'a red bird'",
        writes="of_folder/grid.png",
    ),
}


def commands_in(text):
    """The commands of fenced blocks and those between backticks, each as one line."""
    found = []
    for language, block in FENCE.findall(text):
        lines = re.sub(r"\s*\\\n\s*", " ", block).splitlines()
        lines = [re.sub(r"(^|\s+)#.*", "", line).strip() for line in lines]
        if not language and any(line.split()[:1] in STARTS for line in lines):
            found += lines
    name = re.compile(rf"({'|'.join(re.escape(word) for (word,) in STARTS)}) \S")
    spans = [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", FENCE.sub("", text))]
    return list(dict.fromkeys(filter(None, found + [span for span in spans if name.match(span)])))


def module_and_arguments(command):
    words = shlex.split(command)
    if words[1:2] == ["-m"]:
        return words[2], words[3:]
    return f"attngan_jax.{words[0]}", words[1:]


def test_every_command_is_executed_or_it_is_said_why_not():
    assert set(commands_in(README)) == EXECUTED.keys() | OTHERWISE.keys()
    for reason in OTHERWISE.values():
        for file in re.findall(r"tests/\S+\.py", reason):
            assert (ROOT / file).exists(), file


@pytest.fixture(scope="module")
def home(tiny_run, tmp_path_factory):
    """The user's folder."""
    home = tmp_path_factory.mktemp("home")
    lines = f"""    config.data.data_dir = {str(tiny_run.data_dir)!r}
    config.compilation_cache_dir = ""
    return config
"""
    modules = {"procedural_birds": "tests.tiny_configs", "cub": "tests.tiny_configs"}
    for name, module in (modules | {"folder": "attngan_jax.configs"}).items():
        start = f"from {module} import {name}\n\n\ndef get_config():\n"
        text = f"{start}    config = {name}.get_config()\n{lines}"
        made_up_sources.write(home / "configs" / f"{name}.py", text)
    for name in ("procedural_birds", "little_damsm", "tiny_birds"):
        shutil.copytree(tiny_run.workdir, home / "runs" / name)
    changed = Workdir(home / "runs" / "little_damsm").config
    config = json.loads(changed.read_text())
    config["attngan"]["damsm_weight"] = 1.0
    changed.write_text(json.dumps(config))
    (home / "cub-birds").symlink_to("my-birds")
    made_up_sources.make_folder(home / "FOLDER")
    made_up_sources.make_cub(home / "CUB")
    words = Vocabulary.load(Workdir(tiny_run.workdir).vocabulary).words
    (home / "captions.pickle").write_bytes(made_up_sources.captions_pickle(words))
    return home


@pytest.fixture(scope="module")
def results(home):
    """Of all commands, executed in README's order: exit code, what was said, what was written."""
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": "1", "PYTHONPATH": str(ROOT)}
    program = [sys.executable, "-W", "ignore", "-m", "tests.in_forks"]
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    results = {}
    with subprocess.Popen(program, cwd=home, env=environment, **pipes) as server:
        for command in filter(EXECUTED.get, commands_in(README)):
            run, said = EXECUTED[command], home / "said.txt"
            said.unlink(missing_ok=True)
            module, arguments = module_and_arguments(run.command or command)
            print(json.dumps([module, arguments, str(said)]), file=server.stdin, flush=True)
            pid = int(server.stdout.readline())
            if module.endswith("demo"):
                try:
                    until_it_says(said, run.says)
                finally:
                    os.kill(pid, signal.SIGINT)
            code = int(server.stdout.readline())
            written = [name for name in run.writes.split() if (home / name).exists()]
            results[command] = code, said.read_text(), " ".join(written)
        server.stdin.close()
    return results


def until_it_says(file, part):
    end = time.monotonic() + 120
    while not (file.exists() and part in file.read_text()):
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("command", EXECUTED)
def test_commands(command, results):
    run, (code, said, written) = EXECUTED[command], results[command]
    assert code == run.code and run.says in said, said
    assert "Traceback" not in said and written == run.writes, said


def test_snippets_of_python():
    names = {}
    for language, block in FENCE.findall(README):
        if language == "python":
            exec(block, names)
    assert names["out"].images.shape == (1, 256, 256, 3) and names["out"].images.dtype == "uint8"
    assert len(names["out"].stages) == len(names["out"].attention.maps) + 1 == 3


PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_flags_and_extras_that_commands_name_exist(page):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    shared, text = (ROOT / "attngan_jax" / "cli.py").read_text(), page.read_text()
    assert set(re.findall(r"'\.\[(\w+)\]'", text)) <= project["optional-dependencies"].keys()
    for command in commands_in(text):
        for file in re.findall(
            r"(?<!\S)(?:launch|configs|requirements)\S*\.(?:sh|py|txt)", command
        ):
            assert (ROOT / file).exists(), command
        words = [word.removeprefix("attngan_jax.") for word in command.split()]
        if name := next((word for word in words if word in COMMANDS), None):
            defined = shared + (ROOT / "attngan_jax" / f"{name}.py").read_text()
            for flag in re.findall(r"--(\w+)", command):
                assert f'"{flag}"' in defined, command
