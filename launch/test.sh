#!/usr/bin/env bash
# Passes the tests: makes .venv, installs requirements.txt, requirements-test.txt, requirements-gcs.txt
# and (for Linux on x86_64) the TPU's compiler of requirements-tpu.txt, runs pytest on the CPU.
# Arguments are passed on, for example: bash launch/test.sh tests/models -x
# The tests of the report in a browser are skipped without one. To get one, on Debian or Ubuntu:
#   apt install chromium chromium-driver
set -eu
cd "$(dirname "$0")/.."
. launch/environment.sh requirements.txt requirements-test.txt requirements-gcs.txt requirements-tpu.txt
export JAX_PLATFORMS=cpu
exec "$python" -m pytest "$@"
