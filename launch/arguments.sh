# shellcheck shell=bash
# What scripts of launch/ share about their arguments. To be sourced, with none: it takes away
# the script's own first argument where that is --dry-run, with which a script prints its commands
# and carries out none.

dry_run=""
if [ "${1:-}" = --dry-run ]; then
  dry_run=yes
  shift
fi

# Prints a command as it could be typed.
show() {
  printf '%q ' "$@" | sed 's/ $//'
  echo
}

# Prints a command, and carries it out unless this is a dry run.
call() {
  show "$@"
  if [ -z "$dry_run" ]; then "$@"; fi
}

# Ends the script with its usage ($3) unless $1 is a number of the things in $2.
check_number() {
  case "$1" in
    '' | *[!0-9]* | 0)
      echo "error: say on how many $2: $3" >&2
      exit 2 ;;
  esac
}
