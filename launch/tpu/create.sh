#!/usr/bin/env bash
# Rents a TPU.  ZONE=us-west4-a TYPE=v5litepod-8 bash launch/tpu/create.sh [--dry-run]
#   TYPE     such as v5litepod-8, v6e-16, v5p-8, v4-32; required
#   MODE     on-demand (default), queued: waits for its turn, or spot: queued, cheaper, may be taken
#            away at any time; a run goes on from its last checkpoint on the next one
#   RUNTIME  software version; default: the one that belongs to TYPE
#   VALID    how long a queued or spot request may wait, such as 6h; default: until it is deleted
#   NAME, ZONE, PROJECT: see launch/tpu/settings.sh
set -eu
cd "$(dirname "$0")/../.."
. launch/tpu/settings.sh "$@"
no_arguments
if [ -z "${TYPE:-}" ]; then
  echo "error: say which TPU: TYPE=v5litepod-8 bash $0" >&2
  exit 2
fi
case "$TYPE" in
  v5litepod-*) runtime=v2-alpha-tpuv5-lite ;;
  v6e-*) runtime=v2-alpha-tpuv6e ;;
  v5p-*) runtime=v2-alpha-tpuv5 ;;
  *) runtime=tpu-ubuntu2204-base ;;
esac
RUNTIME="${RUNTIME:-$runtime}"
queued=(gcloud compute tpus queued-resources create "$NAME" "${where[@]}" "--node-id=$NAME"
  "--accelerator-type=$TYPE" "--runtime-version=$RUNTIME"
  ${VALID:+"--valid-until-duration=$VALID"})
case "${MODE:=on-demand}" in
  on-demand)
    call gcloud compute tpus tpu-vm create "$NAME" "${where[@]}" "--accelerator-type=$TYPE" \
      "--version=$RUNTIME" ;;
  queued) call "${queued[@]}" ;;
  spot) call "${queued[@]}" --spot ;;
  *)
    echo "error: MODE is on-demand, queued or spot, not $MODE" >&2
    exit 2 ;;
esac
if [ "$MODE" != on-demand ]; then
  echo "# It is there when this says ACTIVE:"
  printf '# '
  show gcloud compute tpus queued-resources describe "$NAME" "${where[@]}" \
    '--format=value(state.state)'
fi
