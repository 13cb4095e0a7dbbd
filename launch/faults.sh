#!/usr/bin/env bash
# The long fault suite, on the CPU: whole tiny runs that are killed at random and at chosen points,
# whose checkpoints are damaged file by file and bit by bit, on a full disk, and started twice. Each
# has to come to the numbers of a run that was never disturbed. Some sixty runs, and a table at the
# end. The short form is part of the tests (tests/faults).
# Arguments are passed on, for example: --kills 40 --seed 1
#   FOLDER    where the runs go, which is emptied; default: a new one, removed at the end
set -eu
cd "$(dirname "$0")/.."
. launch/environment.sh requirements.txt requirements-test.txt
folder="${FOLDER:-}"
if [ -z "$folder" ]; then
  folder="$(mktemp -d)"
  trap 'rm -rf "$folder"' EXIT
fi
JAX_PLATFORMS=cpu "$python" -m tests.faults.long "$folder" "$@"
