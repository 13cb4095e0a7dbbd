# shellcheck shell=bash
# Where the log of a run's worker is, on that worker. To be sourced.

# The log of worker $2 of the run in $1: in the workdir or, where that is on gs://, in logs/ here.
log_of() {
  local place="${1%/}"
  case "$place" in
    gs://*) echo "logs/${place#gs://}/worker-$2.log" ;;
    *) echo "$place/logs/worker-$2.log" ;;
  esac
}
