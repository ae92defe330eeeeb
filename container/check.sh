#!/usr/bin/env bash
# What the Dockerfile does, without a container: the wheel, an environment with the plain package and the service alone,
# and the service with a model in a copy of its folder, asked until it has answered. Needs a package index.
#
#     container/check.sh MODEL [PYTHON]
set -euo pipefail

if [ $# -lt 1 ] || [ $# -gt 2 ]; then
    echo "usage: container/check.sh MODEL [PYTHON]" >&2
    exit 2
fi
model=$(cd "$1" && pwd)
python=${2:-python3}
cd "$(dirname "$0")/.."
here=$PWD
root=$(mktemp -d)
server=
finish() {
    if [ -n "$server" ]; then kill -KILL "$server" 2>/dev/null || true; fi
    rm -rf "$root"
}
trap finish EXIT

echo "== the wheel"
# From what the Dockerfile copies, and nothing else of the checkout.
mkdir "$root/source"
cp -r pyproject.toml README.md LICENSE constraints.txt src "$root/source"
"$python" -m venv "$root/build"
"$root/build/bin/pip" install --quiet --disable-pip-version-check --upgrade 'pip>=22.3'
(cd "$root/source" && "$root/build/bin/pip" wheel --quiet --no-deps --wheel-dir "$root/wheels" .)
ls "$root/wheels"

echo "== the environment"
"$python" -m venv --without-pip "$root/opt"
(cd "$root/source" && "$root/build/bin/pip" --python "$root/opt/bin/python" install --quiet \
    --disable-pip-version-check --constraint constraints.txt \
    "hundredth[service] @ file://$(ls "$root"/wheels/hundredth-*.whl)")
du -sm "$root/opt" | awk '{print $1 " MB"}'
for package in torch transformers sentence_transformers sklearn pip; do
    if "$root/opt/bin/python" -c "import $package" 2>/dev/null; then
        echo "$package is installed: it has no place in what is deployed" >&2
        exit 1
    fi
done

echo "== the service"
mkdir "$root/model" "$root/tmp"
cp -r "$model/." "$root/model"
"$root/opt/bin/python" -c 'import secrets; print(secrets.token_hex(24))' > "$root/token"
# An empty environment, and a folder to start from that holds nothing of the checkout.
cd "$root"
env -i PATH="$root/opt/bin:/usr/bin:/bin" HOME=/nonexistent TMPDIR="$root/tmp" OMP_NUM_THREADS=1 \
    TOKENIZERS_PARALLELISM=false PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    hundredth serve "$root/model" --port 0 --workers 2 --threads 1 --token-file "$root/token" \
    > "$root/said" 2> "$root/log" &
server=$!
for _ in $(seq 300); do
    address=$(sed -n 's/^serving *//p' "$root/said")
    if [ -n "$address" ] && "$root/opt/bin/python" -c \
        'import sys, urllib.request as r; r.urlopen(sys.argv[1] + "/readyz", timeout=2)' "$address" 2>/dev/null
    then break; fi
    if ! kill -0 "$server" 2>/dev/null; then cat "$root/said" "$root/log" >&2; exit 1; fi
    sleep 0.2
done
cat "$root/said"
"$root/opt/bin/python" "$here/container/ask.py" "$address" "$root/token"

echo "== the stop"
kill -TERM "$server"
wait "$server"
server=
if grep '"level": "error"' "$root/log" >&2; then exit 1; fi
echo "container/check.sh: all is well"
