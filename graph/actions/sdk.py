"""The import of MCP's SDK, which takes a second and 23 MB: only where a server is configured."""

import importlib
import importlib.util
import logging
import sys
from types import ModuleType

# What the SDK's servers seal their state with that clients keep for them. Every import of the SDK loads that module.
_SEALING = {
    "cryptography.exceptions": "InvalidTag",
    "cryptography.hazmat.primitives.ciphers.aead": "AESGCM",
    "cryptography.hazmat.primitives.hashes": "SHA256",
    "cryptography.hazmat.primitives.kdf.hkdf": "HKDF",
}


def load_sdk() -> None:
    """Import the SDK, also without cryptography (13 MB), and silence it: what it logs quotes customers and servers."""
    if importlib.util.find_spec("cryptography") is None and "mcp" not in sys.modules:
        _load_without_cryptography()
    importlib.import_module("mcp.client.client")
    for name in ("mcp", "client"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    logging.getLogger("httpx2").setLevel(logging.WARNING)  # an address may hold a key


def _load_without_cryptography() -> None:
    """Import the SDK while empty classes stand for those that a client never uses."""
    importlib.import_module("jwt")  # which does without by itself, unless it finds a part of it
    placeholders: dict[str, ModuleType] = {}
    for module, name in _SEALING.items():
        parts = module.split(".")
        for length in range(1, len(parts) + 1):
            placeholders.setdefault(".".join(parts[:length]), ModuleType(".".join(parts[:length])))
        setattr(placeholders[module], name, type(name, (Exception,), {}))
    sys.modules.update(placeholders)
    try:
        importlib.import_module("mcp")
    finally:
        for module in placeholders:
            del sys.modules[module]
