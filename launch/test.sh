#!/usr/bin/env bash
# Passes the tests: makes .venv, installs requirements.txt and requirements-test.txt, runs pytest
# on the CPU. Arguments are passed on, for example: bash launch/test.sh tests/models -x
set -eu
cd "$(dirname "$0")/.."
. launch/environment.sh requirements.txt requirements-test.txt
export JAX_PLATFORMS=cpu
exec "$python" -m pytest "$@"
