#!/usr/bin/env bash
# Shows a worker's log as it grows; Ctrl-C ends the looking, not the run.
# ZONE=us-west4-a WORKDIR=bucket/runs/cub bash launch/tpu/follow.sh [--dry-run]
#   WORKDIR  of the run, as launch/tpu/run.sh had it; required
#   WORKER   whose log; default: 0
#   NAME, ZONE, PROJECT: see launch/tpu/settings.sh
set -eu
cd "$(dirname "$0")/../.."
. launch/tpu/settings.sh "$@"
no_arguments
if [ -z "${WORKDIR:-}" ]; then
  echo "error: say which run: WORKDIR=bucket/runs/cub ZONE=$ZONE bash $0" >&2
  exit 2
fi
WORKER="${WORKER:-0}"
on_worker "$WORKER" "cd $FOLDER && tail -n 200 -F $(printf '%q' "$WORKDIR/logs/worker-$WORKER.log")"
