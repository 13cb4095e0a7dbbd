#!/usr/bin/env bash
# A run on N processes of this machine, as a rehearsal of several hosts:
# bash launch/processes.sh [--dry-run] N --workdir DIR --config configs/procedural_birds.py ...
# The arguments after N are those of attngan_jax.main. Process K writes DIR/logs/process-K.log, or
# logs/BUCKET/PATH/process-K.log where DIR is gs://BUCKET/PATH; what ends this script (Ctrl-C,
# SIGTERM) is passed on to all. Makes .venv where it is missing.
#   DEVICES  CPU devices of each process; default: 1
#   PORT     through which they find each other; default: 12355
#   PYTHON, VENV: see launch/environment.sh
set -eu
cd "$(dirname "$0")/.."
. launch/arguments.sh
usage="bash $0 2 --workdir runs/rehearsal --config configs/procedural_birds.py"
check_number "${1:-}" processes "$usage"
processes="$1"
shift
workdir=""
previous=""
for argument; do
  case "$argument" in --workdir=*) workdir="${argument#*=}" ;; esac
  if [ "$previous" = --workdir ]; then workdir="$argument"; fi
  previous="$argument"
done
if [ -z "$workdir" ]; then
  echo "error: say where the run is, for its logs: $usage" >&2
  exit 2
fi
case "$workdir" in
  gs://*) logs="logs/${workdir#gs://}" ;;
  *) logs="$workdir/logs" ;;
esac
if [ -z "$dry_run" ]; then
  . launch/environment.sh requirements.txt
  mkdir -p "$logs"
fi

started=()
for ((process = 0; process < processes; process++)); do
  command=(env JAX_PLATFORMS=cpu "JAX_NUM_CPU_DEVICES=${DEVICES:-1}" "${VENV:-.venv}/bin/python"
    -m attngan_jax.main "--coordinator=localhost:${PORT:-12355}" "--num_processes=$processes"
    "--process_index=$process" "$@")
  if [ -n "$dry_run" ]; then
    printf '%q ' "${command[@]}"
    printf '>> %q 2>&1 &\n' "$logs/process-$process.log"
  else
    "${command[@]}" >> "$logs/process-$process.log" 2>&1 &
    started+=("$!")
  fi
done
if [ -n "$dry_run" ]; then exit; fi

echo "$processes processes write to $logs/"
interrupted=""
trap 'interrupted=yes; kill -TERM "${started[@]}" 2>/dev/null || true' INT TERM
status=0
while :; do
  code=0
  wait -n "${started[@]}" || code=$?
  if [ -n "$interrupted" ]; then  # it was the waiting that ended; they are still saving
    interrupted=""
  elif [ "$code" -eq 127 ]; then  # none is left
    exit "$status"
  elif [ "$code" -ne 0 ] && [ "$status" -eq 0 ]; then
    status="$code"
    tail -n 3 "$logs"/process-*.log >&2
    kill -TERM "${started[@]}" 2>/dev/null || true  # the others would wait for it for ever
  fi
done
