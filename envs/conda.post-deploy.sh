#!/usr/bin/env bash
set -euo pipefail
pip install --no-deps --no-build-isolation --editable .
