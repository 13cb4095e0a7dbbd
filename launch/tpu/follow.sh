#!/usr/bin/env bash
# Shows a worker's log as it grows, from the worker itself; Ctrl-C ends the looking, not the run.
# ZONE=us-west4-a WORKDIR=gs://bucket/runs/cub bash launch/tpu/follow.sh [--dry-run]
#   WORKDIR  of the run, as launch/tpu/run.sh had it; required
#   WORKER   whose log; default: 0
#   NAME, ZONE, PROJECT: see launch/tpu/settings.sh
set -eu
cd "$(dirname "$0")/../.."
. launch/tpu/settings.sh "$@"
. launch/tpu/logs.sh
no_arguments
if [ -z "${WORKDIR:-}" ]; then
  echo "error: say which run: WORKDIR=gs://bucket/runs/cub ZONE=$ZONE bash $0" >&2
  exit 2
fi
WORKER="${WORKER:-0}"
log="$(log_of "$WORKDIR" "$WORKER")"
on_worker "$WORKER" "cd $FOLDER && tail -n 200 -F $(printf '%q' "$log")"
