"""The service on Modal: `uv run modal deploy deploy/modal_app.py`.

The settings come from the Modal secret `support-agent`. A request may take up to 150 seconds, which is Modal's limit,
and a WebSocket up to `_LONGEST`.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import modal

if TYPE_CHECKING:
    from fastapi import FastAPI

_ROOT = Path(__file__).parent.parent
_HOME = "/srv/support-agent"
_LONGEST = 3600  # seconds; maximum duration of a WebSocket

app = modal.App("support-agent")

_sources = (
    modal.Image.debian_slim(python_version="3.12")
    .pip_install_from_requirements(str(_ROOT / "requirements.lock"), extra_options="--require-hashes --no-deps")
    .add_local_file(_ROOT / "pyproject.toml", f"{_HOME}/pyproject.toml", copy=True)
    .add_local_file(_ROOT / "README.md", f"{_HOME}/README.md", copy=True)
    .add_local_file(_ROOT / "LICENSE", f"{_HOME}/LICENSE", copy=True)
)
for _room in ("api", "cli", "evals", "graph", "local"):
    _sources = _sources.add_local_dir(_ROOT / _room, f"{_HOME}/{_room}", ignore=["**/__pycache__"], copy=True)
_image = _sources.run_commands(f"python -m pip install --no-deps {_HOME}").add_local_dir(
    _ROOT / "knowledge", f"{_HOME}/knowledge"
)


@app.function(
    image=_image,
    secrets=[
        modal.Secret.from_name("support-agent", required_keys=["OPENAI_API_KEY", "REDIS_URL", "SUPPORT_API_KEYS"]),
    ],
    env={"SUPPORT_ENV": "production", "SUPPORT_KNOWLEDGE": f"{_HOME}/knowledge"},
    cpu=1.0,
    memory=1024,
    min_containers=1,
    max_containers=10,
    scaledown_window=300,
    timeout=_LONGEST,
    startup_timeout=120,
)
@modal.concurrent(max_inputs=100, target_inputs=50)
@modal.asgi_app()
def web() -> "FastAPI":
    """Build the application; Modal runs its lifespan once per container."""
    from api.app import create_app

    return create_app()
