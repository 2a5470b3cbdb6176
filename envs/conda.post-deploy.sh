#!/usr/bin/env bash
# Run in the project's folder, in the new environment. Snakemake makes another one whenever this file changes: so that
# it does with the lock file, `make lock` writes that one's hash here.
# requirements.txt: 6c641490cf9fdcc21948c1f06fe002fb52610ee0
set -euo pipefail
pip install --require-hashes --no-deps --no-compile --requirement envs/requirements.txt
pip install --no-deps --no-build-isolation --editable .
