#!/usr/bin/env bash
# From a fresh clone to birds from a sentence: makes .venv, installs requirements.txt, trains on
# procedural_birds and writes the report. Run again, it goes on where it stopped, or says that all
# is done. Arguments are passed on, for example: bash launch/quickstart.sh --workdir runs/mine
set -eu
cd "$(dirname "$0")/.."
. launch/environment.sh requirements.txt
exec "$python" -m attngan_jax.main --config configs/procedural_birds.py "$@"
