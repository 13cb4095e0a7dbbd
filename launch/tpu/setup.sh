#!/usr/bin/env bash
# Brings this checkout to every worker of a TPU, with Python 3.11, requirements.txt and jax[tpu].
# ZONE=us-west4-a bash launch/tpu/setup.sh [--dry-run]
# The TPU's machines have Python 3.10; uv fetches 3.11 and leaves theirs alone. What is committed is
# what is sent; run it again after a commit.
#   NAME, ZONE, PROJECT: see launch/tpu/settings.sh
set -eu
cd "$(dirname "$0")/../.."
. launch/tpu/settings.sh "$@"
no_arguments
archive="$(mktemp -d)/$FOLDER.tar.gz"
trap 'rm -rf "$(dirname "$archive")"' EXIT
call git archive --format=tar.gz "--prefix=$FOLDER/" "--output=$archive" HEAD
call gcloud compute tpus tpu-vm scp "$archive" "$NAME:" "${where[@]}" --worker=all
on_worker all "set -e; tar -xzf $FOLDER.tar.gz; cd $FOLDER; \
python3 -m pip install --quiet --user uv; python3 -m uv python install --quiet 3.11; \
export PYTHON=\"\$(python3 -m uv python find 3.11)\"; \
bash -c '. launch/environment.sh requirements.txt requirements-tpu.txt'; \
.venv/bin/python -c 'import jax; print(jax.local_device_count(), \"of\", jax.device_count(), \"chips\")'"
