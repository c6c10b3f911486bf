"""`python -m bench`; without what it measures with, it says which packages to install."""

import sys

try:
    from bench.main import app
except ModuleNotFoundError as error:
    print(f"bench: {error.name} is missing; run: uv run --group bench python -m bench", file=sys.stderr)
    sys.exit(2)

if __name__ == "__main__":
    app()
