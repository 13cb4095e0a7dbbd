#!/usr/bin/env bash
# One worker's share of a run, with its log in the workdir; launch/tpu/run.sh starts it on each.
# WORKDIR=bucket/runs/cub bash launch/tpu/worker.sh --config configs/cub.py ...
#   WORKDIR  of the run; required
#   WORKER   the worker's number; default: the end of its host's name (t1v-n-1234abcd-w-3)
set -eu
cd "$(dirname "$0")/../.."
host="$(hostname)"
worker="${WORKER:-${host##*-}}"
mkdir -p "$WORKDIR/logs"
exec .venv/bin/python -m attngan_jax.main --distributed --workdir "$WORKDIR" "$@" \
  >> "$WORKDIR/logs/worker-$worker.log" 2>&1
