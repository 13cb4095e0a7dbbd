#!/usr/bin/env bash
# One worker's share of a run, with its log in the workdir; launch/tpu/run.sh starts it on each.
# WORKDIR=gs://bucket/runs/cub bash launch/tpu/worker.sh --config configs/cub.py ...
#   WORKDIR  of the run; a bucket's log is brought up to date once a minute
#   WORKER   the worker's number; default: the end of its host's name (t1v-n-1234abcd-w-3)
set -eu
cd "$(dirname "$0")/../.."
host="$(hostname)"
worker="${WORKER:-${host##*-}}"
name="worker-$worker.log"
run() {
  .venv/bin/python -m attngan_jax.main --distributed --workdir "$WORKDIR" "$@" >> "$log" 2>&1
}

case "$WORKDIR" in
  gs://*)
    mkdir -p logs
    log="logs/$name"
    upload() { gcloud storage cp --quiet "$log" "${WORKDIR%/}/logs/$name" >/dev/null 2>&1 || true; }
    (while sleep 60; do upload; done) &
    uploads=$!
    status=0
    run "$@" || status=$?
    kill "$uploads"
    upload
    exit "$status" ;;
  *)
    mkdir -p "$WORKDIR/logs"
    log="$WORKDIR/logs/$name"
    run "$@" ;;
esac
