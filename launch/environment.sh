# shellcheck shell=bash
# Makes the virtual environment .venv and installs requirements files into it. To be sourced, from
# the project's root, with the requirements files as arguments. Sets $python to its interpreter.
#   PYTHON  the Python to make it with, 3.11 to 3.13 (not all that is required has a later one);
#           default: the first that fits of python3, python3.13, 3.12, 3.11
#   VENV    where it is made; default: .venv

venv="${VENV:-.venv}"
fits='import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))'

find_python() {
  local candidate
  for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
    if command -v "$candidate" >/dev/null && "$candidate" -c "$fits" 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  echo "error: no Python 3.11, 3.12 or 3.13 was found: install one, or name it with PYTHON=/path/to/python3.12" >&2
  exit 1
}

if [ ! -x "$venv/bin/python" ] || ! "$venv/bin/python" -c "import pip" 2>/dev/null; then
  base="$(find_python)" || exit 1
  echo "Making the virtual environment $venv with $("$base" --version) ..."
  "$base" -m venv --clear "$venv" || {
    echo "error: $base cannot make virtual environments: install its venv package (Debian: apt install python3-venv)" >&2
    exit 1
  }
fi
python="$venv/bin/python"

for requirements in "$@"; do
  stamp="$venv/.installed-$(basename "$requirements")"
  if ! cmp -s "$requirements" "$stamp"; then
    echo "Installing $requirements (some minutes the first time) ..."
    "$python" -m pip install --quiet --disable-pip-version-check -r "$requirements" || {
      echo "error: pip could not install $requirements: see its message above, then run the same command again" >&2
      exit 1
    }
    cp "$requirements" "$stamp"
  fi
done
