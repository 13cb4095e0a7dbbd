#!/usr/bin/env bash
# A run on TPUs of Google Kubernetes Engine, through XPK (pip install xpk) and Docker.
# CLUSTER=birds ZONE=us-west4-a TYPE=v5litepod-16 IMAGE=us-docker.pkg.dev/me/images/attngan_jax \
#     bash launch/gke/xpk.sh [--dry-run] COMMAND
#   cluster                   makes the cluster, with one slice of TPUs, and BUCKET as /bucket
#   image                     builds the image of this checkout and pushes it to IMAGE
#   run --config C ...        starts attngan_jax.main on all hosts, with these arguments
#   follow                    shows the log of the first host
#   stop                      ends the run; WORKDIR stays
#   delete                    gives the cluster back
# Variables:
#   CLUSTER  name of the cluster; required
#   ZONE     where it is; required
#   PROJECT  Google Cloud's; default: that of gcloud's configuration
#   TYPE     of TPU, such as v5litepod-16; required by cluster and run
#   MODE     on-demand (default) or spot, when the cluster is made
#   IMAGE    the image's full name; required by image and run
#   NAME     of the run; default: attngan
#   BUCKET   of Google Cloud Storage, to which the cluster may write, to be seen as /bucket through
#            gcsfuse by those who want it so; default: none
#   WORKDIR  of the run, such as gs://my-bucket/runs/cub; required by run without BUCKET; default:
#            /bucket/runs/NAME
set -eu
cd "$(dirname "$0")/../.."
. launch/arguments.sh
need() {
  local variable
  for variable; do
    if [ -z "${!variable:-}" ]; then
      echo "error: $variable is missing; the first lines of $0 say what it is" >&2
      exit 2
    fi
  done
}

need CLUSTER ZONE
NAME="${NAME:-attngan}"
where=("--cluster=$CLUSTER" "--zone=$ZONE" ${PROJECT:+"--project=$PROJECT"})
command="${1:-}"
if [ $# -gt 0 ]; then shift; fi
case "$command" in
  cluster)
    need TYPE
    call xpk cluster create "${where[@]}" "--tpu-type=$TYPE" --num-slices=1 \
      "--${MODE:-on-demand}" ${BUCKET:+--enable-gcsfuse-csi-driver}
    if [ -n "${BUCKET:-}" ]; then
      call xpk storage attach bucket "${where[@]}" --type=gcsfuse "--bucket=${BUCKET#gs://}" \
        --mount-point=/bucket --readonly=false --size=1 --auto-mount=true
    fi ;;
  image)
    need IMAGE
    call docker build --file launch/gke/Dockerfile --tag "$IMAGE" .
    call docker push "$IMAGE" ;;
  run)
    need TYPE IMAGE
    if [ -n "${BUCKET:-}" ]; then WORKDIR="${WORKDIR:-/bucket/runs/$NAME}"; fi
    need WORKDIR
    call xpk workload create "${where[@]}" "--workload=$NAME" "--tpu-type=$TYPE" --num-slices=1 \
      "--docker-image=$IMAGE" --command \
      "python -m attngan_jax.main --distributed --workdir $(printf '%q' "$WORKDIR")$(printf ' %q' "$@")" ;;
  follow)
    call kubectl logs --follow "--selector=jobset.sigs.k8s.io/jobset-name=$NAME,batch.kubernetes.io/job-completion-index=0" ;;
  stop) call xpk workload delete "${where[@]}" "--workload=$NAME" ;;
  delete) call xpk cluster delete "${where[@]}" ;;
  *)
    echo "error: say what to do: cluster, image, run, follow, stop or delete; see the first lines of $0" >&2
    exit 2 ;;
esac
