#!/usr/bin/env bash
# Brings this checkout to every worker of a TPU, with Python 3.12, requirements.txt, jax[tpu] and
# what gs:// needs.
# ZONE=us-west4-a bash launch/tpu/setup.sh [--dry-run]
# The TPU's machines have Python 3.10; uv fetches 3.12 and leaves theirs alone. What is committed is
# what is sent; run it again after a commit.
#   BUCKET   of Google Cloud Storage, which every worker is to see as the folder bucket/ of the
#            project, through gcsfuse, for those who want it so; default: none, as workdirs and data
#            on gs:// need no folder
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
python3 -m pip install --quiet --user uv; python3 -m uv python install --quiet 3.12; \
export PYTHON=\"\$(python3 -m uv python find 3.12)\"; \
bash -c '. launch/environment.sh requirements.txt requirements-gcs.txt requirements-tpu.txt'; \
.venv/bin/python -c 'import jax; print(jax.local_device_count(), \"of\", jax.device_count(), \"chips\")'"
if [ -n "${BUCKET:-}" ]; then
  on_worker all "set -e; cd $FOLDER; packages=https://packages.cloud.google.com/apt; \
key=/usr/share/keyrings/cloud.google.asc; if ! command -v gcsfuse >/dev/null; then \
curl -fsS \$packages/doc/apt-key.gpg | sudo tee \$key >/dev/null; \
echo \"deb [signed-by=\$key] \$packages gcsfuse-\$(lsb_release -cs) main\" \
| sudo tee /etc/apt/sources.list.d/gcsfuse.list >/dev/null; \
sudo apt-get -qq update; sudo apt-get -qq -y install gcsfuse; fi; mkdir -p bucket; \
mountpoint -q bucket || gcsfuse --implicit-dirs --rename-dir-limit=1000000 ${BUCKET#gs://} bucket"
fi
