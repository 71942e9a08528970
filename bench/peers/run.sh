#!/bin/sh
# run.sh BENCH: ours against PyTorch on the same cores, interleaved; writes build/bench/peers.json.
# The virtual environment (PEERS_VENV, by default in the user's cache) is made on first use.
# PEERS_PYTHON: one that has torch already.
set -eu
here=$(dirname "$0")
PEERS_VENV=${PEERS_VENV:-${XDG_CACHE_HOME:-$HOME/.cache}/libkd/peers}
if [ -z "${PEERS_PYTHON:-}" ]; then
    PEERS_PYTHON=$PEERS_VENV/bin/python
    if [ ! -x "$PEERS_PYTHON" ]; then
        python3 -m venv "$PEERS_VENV" || { echo "bench-peers needs python3 with venv (Debian: python3-venv)" >&2; exit 1; }
    fi
    "$PEERS_PYTHON" -c 'import torch, torchvision, safetensors' 2>/dev/null ||
        "$PEERS_VENV/bin/pip" install --quiet -r "$here/requirements.txt"
fi
command -v g++ >/dev/null || echo "bench-peers: without g++ torch.compile is left out" >&2
mkdir -p build/bench
exec "$PEERS_PYTHON" "$here/peers.py" --bench "$1" --out build/bench/peers.json ${PEERS_ARGS:-}
