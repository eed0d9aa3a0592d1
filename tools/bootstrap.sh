#!/usr/bin/env bash
# Install what kinlink needs: uv (into .tools, unless it is there), the locked
# Python packages (into .venv), and libsodium (with apt-get when root, else told how).
set -euo pipefail

say() { printf 'kinlink: %s\n' "$*" >&2; }

python=""
for candidate in python3.13 python3.12 python3.11 python3; do
  if command -v "$candidate" >/dev/null && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    python=$candidate
    break
  fi
done
[ -n "$python" ] || { say "Python 3.11 or newer is needed: apt install python3 python3-venv, or brew install python"; exit 1; }

if ! command -v "$UV" >/dev/null; then
  say "installing uv into .tools"
  "$python" -m venv .tools/uv 2>/dev/null || { rm -rf .tools/uv; say "the venv module is missing: apt install python3-venv"; exit 1; }
  .tools/uv/bin/pip install --quiet "uv==$UV_VERSION"
fi

say "installing the locked packages into .venv"
"$UV" sync --frozen --quiet --python "$python"

has_libsodium() {
  .venv/bin/python - <<'PY'
import ctypes.util
import sys
from pathlib import Path

folders = [Path("/opt/homebrew/lib"), Path("/usr/local/lib")]
found = ctypes.util.find_library("sodium") or any(f.glob("libsodium.*") for f in folders if any(f.glob("libsodium.*")))
sys.exit(0 if found else 1)
PY
}
if ! has_libsodium; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    say "installing libsodium"
    apt-get update -qq && apt-get install -y -qq libsodium23 >/dev/null
  else
    say "libsodium is missing: sudo apt install libsodium23, or brew install libsodium; then run make again"
    exit 1
  fi
fi
