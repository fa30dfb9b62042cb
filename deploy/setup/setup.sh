#!/usr/bin/env bash
# Finds Python 3.11 and hands over to install.py; all that `make setup` does.
#
#     deploy/setup/setup.sh          PYTHON=/path/to/python3.11 and ENGINE=cpu|gpu override what is found
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
is_311='import sys; raise SystemExit(sys.version_info[:2] != (3, 11))'

for candidate in "${PYTHON:-}" python3.11 python3 python; do
    if [[ -n "$candidate" ]] && "$candidate" -c "$is_311" 2>/dev/null; then
        exec "$candidate" "$here/install.py" "$@"
    fi
done

echo "setup: Python 3.11 was not found${PYTHON:+ (PYTHON=$PYTHON is not it)}; install it (python3.11 with its venv module)" \
    "or run: PYTHON=/path/to/python3.11 make setup" >&2
exit 4
