# shellcheck shell=bash
# What the scripts of launch/tpu share. To be sourced, with the script's arguments.
#   NAME     of the TPU; default: attngan
#   ZONE     where it is, such as us-west4-a; required
#   PROJECT  Google Cloud's; default: that of gcloud's configuration
# With --dry-run as first argument a script prints its commands and carries out none.

NAME="${NAME:-attngan}"
# On the TPU's machines, in the home folder.
# shellcheck disable=SC2034
FOLDER=attngan_jax
. launch/arguments.sh
arguments=("$@")  # what is left, for the script
if [ -z "${ZONE:-}" ]; then
  echo "error: say where the TPU is: ZONE=us-west4-a bash $0" >&2
  exit 2
fi
where=("--zone=$ZONE" ${PROJECT:+"--project=$PROJECT"})

# Runs a command on one worker ("all" for every one) of the TPU.
on_worker() {
  call gcloud compute tpus tpu-vm ssh "$NAME" "${where[@]}" "--worker=$1" "--command=$2"
}

no_arguments() {
  if [ "${#arguments[@]}" -gt 0 ]; then
    echo "error: what is '${arguments[0]}'? this script knows --dry-run alone; see its first lines" >&2
    exit 2
  fi
}
