#!/usr/bin/env bash
# Starts a run on every worker of a TPU, in the background; a run that is there goes on.
# ZONE=us-west4-a WORKDIR=gs://bucket/runs/cub bash launch/tpu/run.sh [--dry-run]
#     --config configs/cub.py --config.compute_dtype=bfloat16 [--config.KEY=VALUE ...]
# The arguments are those of attngan_jax.main, without --workdir. Worker N writes its log to
# WORKDIR/logs/worker-N.log; for a WORKDIR on gs:// to a file on the worker, which is copied there
# every few minutes and at the end.
#   WORKDIR  of the run: gs://BUCKET/PATH, or a folder that all workers share, such as the bucket/
#            that launch/tpu/setup.sh can mount; on a TPU of one worker any folder; required
#   NAME, ZONE, PROJECT: see launch/tpu/settings.sh
set -eu
cd "$(dirname "$0")/../.."
. launch/tpu/settings.sh "$@"
if [ -z "${WORKDIR:-}" ] || [ "${#arguments[@]}" -eq 0 ]; then
  echo "error: WORKDIR=gs://bucket/runs/cub ZONE=$ZONE bash $0 --config configs/cub.py" >&2
  exit 2
fi
# Nothing but nohup goes into the background: a shell that waits there would hold the connection.
on_worker all "cd $FOLDER || exit 1; \
WORKDIR=$(printf '%q' "$WORKDIR") nohup bash launch/tpu/worker.sh\
$(printf ' %q' "${arguments[@]}") >/dev/null 2>&1 </dev/null &"
