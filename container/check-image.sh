#!/usr/bin/env bash
# The image itself: built, started as the compose file starts it with a copy of a model, asked, and stopped.
# ENGINE is docker, or podman. What an engine needs besides goes into BUILD_OPTIONS and RUN_OPTIONS.
#
#     container/check-image.sh MODEL [ENGINE]
set -euo pipefail

if [ $# -lt 1 ] || [ $# -gt 2 ]; then
    echo "usage: container/check-image.sh MODEL [ENGINE]" >&2
    exit 2
fi
model=$(cd "$1" && pwd)
engine=${2:-docker}
cd "$(dirname "$0")/.."
here=$PWD
root=$(mktemp -d)
name=hundredth-check-$$
read -ra build_options <<< "${BUILD_OPTIONS:-}"
read -ra run_options <<< "${RUN_OPTIONS:-}"
finish() {
    "$engine" rm --force "$name" >/dev/null 2>&1 || true
    "$engine" rmi "$name" >/dev/null 2>&1 || true
    rm -rf "$root"
}
trap finish EXIT
fail() {
    echo "container/check-image.sh: $1" >&2
    "$engine" logs "$name" >&2 || true
    exit 1
}

# start MOUNT_OPTION: wait until the container takes requests, and put where into `address`.
start() {
    "$engine" run --detach --name "$name" --publish 127.0.0.1::8000 --read-only --tmpfs /tmp:size=64m,mode=1777 \
        --cap-drop ALL --security-opt no-new-privileges --cpus 2 --memory 2g --pids-limit 256 \
        --volume "$root/model:/model$1" --volume "$root/token:/run/secrets/token:ro" \
        ${run_options[@]+"${run_options[@]}"} "$name" --workers 2 --threads 1 --token-file /run/secrets/token >/dev/null
    address=http://$("$engine" port "$name" 8000)
    for _ in $(seq 100); do
        if python3 -c 'import sys, urllib.request as r; r.urlopen(sys.argv[1] + "/readyz", timeout=2)' \
            "$address" 2>/dev/null; then return; fi
        sleep 0.3
    done
    fail "the service was not ready within half a minute"
}

# stop: it must end by itself, soon, and with nothing to complain of.
stop() {
    "$engine" stop --time 30 "$name" >/dev/null
    code=$("$engine" inspect --format '{{.State.ExitCode}}' "$name")
    if [ "$code" != 0 ]; then fail "the service ended with exit code $code"; fi
    if "$engine" logs "$name" 2>&1 | grep '"level": "error"' >&2; then exit 1; fi
    "$engine" rm "$name" >/dev/null
}

echo "== the image"
"$engine" build ${build_options[@]+"${build_options[@]}"} --quiet --file container/Dockerfile --tag "$name" .
mkdir "$root/model"
cp -r "$model/." "$root/model"
python3 -c 'import secrets; print(secrets.token_hex(24))' > "$root/token"
# The user of the image has a number that this machine does not know.
chmod -R a+rwX "$root"

echo "== the service"
start ""
python3 "$here/container/ask.py" "$address" "$root/token"
"$engine" exec --interactive "$name" python - <<'PYTHON'
import importlib.util
import os
from pathlib import Path

assert os.getuid() == 10001, os.getuid()
for package in ("torch", "transformers", "sentence_transformers", "sklearn"):
    assert importlib.util.find_spec(package) is None, f"{package} is installed"
for folder in ("/", "/opt/hundredth", "/usr"):
    try:
        Path(folder, "made").touch()
    except OSError:
        continue
    raise SystemExit(f"{folder} can be written")
rights = [line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("Cap")]
assert all(int(one, 16) == 0 for one in rights), rights
print("as user 10001, with a read-only root, no capabilities and no torch")
PYTHON
"$engine" inspect --format '{{json .Config.Healthcheck.Test}}' "$name" > "$root/health"
readarray -t health < <(python3 -c 'import json, sys; print(*json.load(sys.stdin)[1:], sep="\n")' < "$root/health")
"$engine" exec "$name" "${health[@]}" || fail "the image's health check fails"
echo "the health check passes"
stop

echo "== the same model, mounted read-only"
start ":ro"
python3 "$here/container/ask.py" "$address" "$root/token" --read-only
stop
echo "container/check-image.sh: all is well"
