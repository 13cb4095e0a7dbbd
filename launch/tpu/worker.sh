#!/usr/bin/env bash
# One worker's share of a run, with its log in the workdir; launch/tpu/run.sh starts it on each.
# WORKDIR=gs://bucket/runs/cub bash launch/tpu/worker.sh --config configs/cub.py ...
#   WORKDIR  of the run; required. Where it is on gs://, the log is a file in logs/ here, and copied
#            to WORKDIR/logs/ while it grows and at the end; what an earlier TPU left there comes first
#   WORKER   the worker's number; default: the end of its host's name (t1v-n-1234abcd-w-3)
#   SECONDS_BETWEEN_COPIES  of the log; default: 300
set -eu
cd "$(dirname "$0")/../.."
host="$(hostname)"
worker="${WORKER:-${host##*-}}"
. launch/tpu/logs.sh
log="$(log_of "$WORKDIR" "$worker")"
mkdir -p "$(dirname "$log")"
command=(.venv/bin/python -m attngan_jax.main --distributed --workdir "$WORKDIR" "$@")
case "$WORKDIR" in
  gs://*) ;;
  *) exec "${command[@]}" >> "$log" 2>&1 ;;
esac

there="${WORKDIR%/}/logs/worker-$worker.log"
copy() {
  gcloud storage cp --quiet "$1" "$2" >/dev/null 2>&1 </dev/null || true
}

if [ ! -e "$log" ]; then copy "$there" "$log"; fi
"${command[@]}" >> "$log" 2>&1 &
run=$!
set -m  # a group of its own: a copy under way ends with it, and can't land after the last one
(while sleep "${SECONDS_BETWEEN_COPIES:-300}"; do copy "$log" "$there"; done) >/dev/null 2>&1 </dev/null &
copying=$!
set +m
told=""
trap 'told=yes; kill -TERM "$run" 2>/dev/null || true' INT TERM  # it saves, and ends
while :; do
  status=0
  wait "$run" || status=$?
  if [ -z "$told" ]; then break; fi
  told=""  # it was the waiting that ended
done
kill -- "-$copying" 2>/dev/null || true
wait "$copying" 2>/dev/null || true
copy "$log" "$there"
exit "$status"
