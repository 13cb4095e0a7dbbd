#!/usr/bin/env bash
# Gives a TPU back, with all that lies on its disks; a workdir in a bucket stays.
# ZONE=us-west4-a bash launch/tpu/delete.sh [--dry-run]
#   MODE  as for launch/tpu/create.sh: on-demand (default), queued or spot
#   NAME, ZONE, PROJECT: see launch/tpu/settings.sh
set -eu
cd "$(dirname "$0")/../.."
. launch/tpu/settings.sh "$@"
no_arguments
case "${MODE:=on-demand}" in
  on-demand) call gcloud compute tpus tpu-vm delete "$NAME" "${where[@]}" --quiet ;;
  queued | spot)  # --force: the TPU as well as the request
    call gcloud compute tpus queued-resources delete "$NAME" "${where[@]}" --force --quiet ;;
  *)
    echo "error: MODE is on-demand, queued or spot, not $MODE" >&2
    exit 2 ;;
esac
