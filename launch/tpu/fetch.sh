#!/usr/bin/env bash
# Brings a run's workdir here: checkpoints, logs, samples, report.
# ZONE=us-west4-a WORKDIR=gs://bucket/runs/cub bash launch/tpu/fetch.sh [--dry-run]
#   WORKDIR  of the run, as launch/tpu/run.sh had it, or where it lies on gs://; required
#   TO       folder here; default: runs/<last part of WORKDIR>
#   NAME, ZONE, PROJECT: see launch/tpu/settings.sh
set -eu
cd "$(dirname "$0")/../.."
. launch/tpu/settings.sh "$@"
no_arguments
if [ -z "${WORKDIR:-}" ]; then
  echo "error: say which run: WORKDIR=gs://bucket/runs/cub ZONE=$ZONE bash $0" >&2
  exit 2
fi
WORKDIR="${WORKDIR%/}"
TO="${TO:-runs/${WORKDIR##*/}}"
case "$WORKDIR" in
  gs://*)
    call mkdir -p "$TO"
    call gcloud storage rsync --recursive "$WORKDIR" "$TO" ;;
  *)
    case "$WORKDIR" in
      /*) from="$WORKDIR" ;;
      *) from="$FOLDER/$WORKDIR" ;;
    esac
    call mkdir -p "$(dirname "$TO")"
    call gcloud compute tpus tpu-vm scp --recurse "$NAME:$from" "$TO" "${where[@]}" --worker=0 ;;
esac
