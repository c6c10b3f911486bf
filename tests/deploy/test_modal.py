"""The application on Modal: what `modal deploy` asks for, and what runs in its container."""

import asyncio
import importlib
import shutil
from pathlib import Path

import httpx
import pytest
from modal_proto import api_pb2

from conftest import REPOSITORY, MakeSettings
from harness.modal import fake_modal
from harness.planting import plant
from harness.serving import serving
from harness.targets import DEPLOY, LONGEST, Json


async def test_modal_deploys_the_application() -> None:
    """`modal deploy` requests a web function with our concurrency, a warm container, the secret and the lock file."""
    async with fake_modal() as modal:
        status, output = await modal.deploy(DEPLOY / "modal_app.py")
    assert status == 0, output
    function = modal.asked["FunctionCreate"][0].function
    assert function.function_name == "web"
    assert function.webhook_config.type == api_pb2.WEBHOOK_TYPE_ASGI_APP
    assert function.max_concurrent_inputs >= function.target_concurrent_inputs > 1
    assert function.autoscaler_settings.min_containers >= 1
    assert function.timeout_secs > LONGEST
    named, own = modal.asked["SecretGetOrCreate"]
    assert named.deployment_name == "support-agent"
    assert set(named.required_keys) == {"OPENAI_API_KEY", "REDIS_URL", "SUPPORT_API_KEYS"}
    assert own.env_dict["SUPPORT_ENV"] == "production"
    assert modal.asked["AppPublish"]
    commands = [command for image in modal.asked["ImageGetOrCreate"] for command in image.image.dockerfile_commands]
    assert any("--require-hashes" in command for command in commands)
    given = [file.data for image in modal.asked["ImageGetOrCreate"] for file in image.image.context_files]
    assert (REPOSITORY / "requirements.lock").read_bytes() in given
    mounted = {file.filename for mount in modal.asked["MountGetOrCreate"] for file in mount.files}
    home = own.env_dict["SUPPORT_KNOWLEDGE"].removesuffix("/knowledge")
    for path in ("pyproject.toml", "README.md", "LICENSE", "api/app.py", "knowledge/company.yaml"):
        assert f"{home}/{path}" in mounted


async def test_modal_refuses_what_it_no_longer_has(tmp_path: Path) -> None:
    """An outdated parameter, which many examples still show, fails the deployment."""
    folder = tmp_path / "deploy"
    folder.mkdir()
    text = (DEPLOY / "modal_app.py").read_text()
    (folder / "modal_app.py").write_text(plant(text, "min_containers=1", "keep_warm=1"))
    async with fake_modal() as modal:
        status, output = await modal.deploy(folder / "modal_app.py")
    assert status != 0
    assert "keep_warm" in output
    assert "FunctionCreate" not in modal.asked


async def test_the_application_lives_on_modal(
    make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With only the module in the container, the function returns an application whose lifespan Modal runs."""
    from modal._runtime.asgi import LifespanManager

    settings = make_settings()
    for name, value in {
        "OPENAI_BASE_URL": settings.openai_base_url,
        "OPENAI_API_KEY": "sk-test-canary",
        "REDIS_URL": settings.redis_url.get_secret_value() if settings.redis_url else "",
        "SUPPORT_KNOWLEDGE": str(settings.knowledge),
        "SUPPORT_ENV": "production",
        "SUPPORT_ALLOW_ANONYMOUS": "true",
    }.items():
        monkeypatch.setenv(name, str(value))
    shutil.copy(DEPLOY / "modal_app.py", tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    application = importlib.import_module("modal_app").web.local()
    state: Json = {}
    manager = LifespanManager(application, state)
    living = asyncio.create_task(manager.background_task())
    await manager.lifespan_startup()
    assert state["agent"]
    await manager.lifespan_shutdown()
    await living
    async with serving(application) as url, httpx.AsyncClient(base_url=url) as http:
        assert (await http.get("/health")).json()["status"] == "healthy"
