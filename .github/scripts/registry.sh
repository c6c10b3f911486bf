#!/usr/bin/env bash
# Lets docker and cosign use the registry of the image that is the argument, with gcloud's credentials.
set -euo pipefail

gcloud auth configure-docker "${1%%/*}" --quiet
