"""A fake Modal server: it answers `modal deploy` without deploying, and records its requests."""

import asyncio
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from google.protobuf.message_factory import GetMessageClass
from grpclib.const import Cardinality, Handler
from grpclib.server import Server, Stream
from modal_proto import api_pb2

from local.process import free_port

_IDS = {
    "app_id": "ap-1",
    "environment_id": "en-1",
    "function_id": "fu-1",
    "image_id": "im-1",
    "mount_id": "mo-1",
    "secret_id": "st-1",
}


class Modal:
    """The requests to the fake Modal, by RPC name."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.asked: dict[str, list[Any]] = {}

    def __mapping__(self) -> dict[str, Handler]:
        """Serve every RPC of Modal's API."""
        service = api_pb2.DESCRIPTOR.services_by_name["ModalClient"]
        cardinality = {(False, False): Cardinality.UNARY_UNARY, (False, True): Cardinality.UNARY_STREAM}
        return {
            f"/modal.client.ModalClient/{call.name}": Handler(
                self._answer(call.name, GetMessageClass(call.output_type)),
                cardinality[call.client_streaming, call.server_streaming],
                GetMessageClass(call.input_type),
                GetMessageClass(call.output_type),
            )
            for call in service.methods
        }

    def _answer(self, name: str, kind: Any) -> Any:
        async def answer(stream: Stream[Any, Any]) -> None:
            asked: Any = await stream.recv_message()
            self.asked.setdefault(name, []).append(asked)
            known = {field.name: _IDS[field.name] for field in kind.DESCRIPTOR.fields if field.name in _IDS}
            reply = kind(**known)
            if name == "EnvironmentGetOrCreate":
                reply.metadata.name = "main"
                reply.metadata.settings.image_builder_version = "2026.10"
            elif name == "ImageGetOrCreate":
                reply.result.status = api_pb2.GenericResult.GENERIC_STATUS_SUCCESS
            elif name in ("FunctionPrecreate", "FunctionCreate"):
                reply.handle_metadata.function_name = "web"
                reply.handle_metadata.web_url = "https://example--support-agent-web.modal.run"
            if name == "FunctionCreate":
                reply.function_data.ranked_functions.add().function.CopyFrom(asked.function)
            await stream.send_message(reply)

        return answer

    async def deploy(self, file: Path) -> tuple[int, str]:
        """Run `modal deploy`; return its exit status and its output."""
        environment = {
            **os.environ,
            "MODAL_SERVER_URL": self.url,
            "MODAL_TOKEN_ID": "ak-none",
            "MODAL_TOKEN_SECRET": "as-none",
            "MODAL_CONFIG_PATH": os.devnull,
        }
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "modal", "deploy", str(file)),
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(60):
                output, _ = await process.communicate()
        except TimeoutError:
            process.kill()
            raise
        return await process.wait(), output.decode()


@asynccontextmanager
async def fake_modal() -> AsyncGenerator[Modal]:
    """Run a fake Modal on a free port."""
    port = free_port()
    modal = Modal(f"http://127.0.0.1:{port}")
    server = Server([modal])
    await server.start("127.0.0.1", port)
    try:
        yield modal
    finally:
        server.close()
        await server.wait_closed()
