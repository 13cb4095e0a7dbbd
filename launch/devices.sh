#!/usr/bin/env bash
# A run on N CPU devices of this machine, as a rehearsal of a mesh: bash launch/devices.sh [--dry-run]
#     N --config configs/procedural_birds.py [--workdir DIR] [--config.KEY=VALUE ...]
# The arguments after N are those of attngan_jax.main. Makes .venv where it is missing.
#   PYTHON, VENV: see launch/environment.sh
set -eu
cd "$(dirname "$0")/.."
. launch/arguments.sh
check_number "${1:-}" devices "bash $0 8 --config configs/procedural_birds.py"
devices="$1"
shift
command=(env JAX_PLATFORMS=cpu "JAX_NUM_CPU_DEVICES=$devices" "${VENV:-.venv}/bin/python"
  -m attngan_jax.main "$@")
if [ -n "$dry_run" ]; then
  show "${command[@]}"
  exit
fi
. launch/environment.sh requirements.txt
exec "${command[@]}"
