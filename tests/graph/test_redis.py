"""What the agent makes of the Redis it is given."""

import asyncio

import pytest
import uvloop

from conftest import MakeSettings
from graph.errors import SettingsError
from graph.redis import open_redis
from harness.fault_proxy import fault_proxy


@pytest.mark.parametrize("login", ["", ":wrong@", "who:wrong@"])
async def test_a_wrong_password_is_named(make_settings: MakeSettings, redis_url: str, login: str) -> None:
    """A Redis that refuses the login stops the start, without the password in the message."""
    address = redis_url.rpartition("@")[2]
    with pytest.raises(SettingsError) as error:
        async with open_redis(make_settings(REDIS_URL=f"redis://{login}{address}")):
            pass
    assert str(error.value) == "REDIS_URL: Redis refused the login; correct its user or password"


def test_a_reset_connection_is_tried_again(make_settings: MakeSettings, redis_url: str) -> None:
    """On uvloop too, which has an error of its own for it."""
    address = redis_url.rpartition("@")[2]
    port = int(address.partition(":")[2].partition("/")[0])

    async def scenario() -> None:
        async with fault_proxy("127.0.0.1", port) as proxy:
            settings = make_settings(REDIS_URL=redis_url.replace(address, f"127.0.0.1:{proxy.port}/0"))
            async with open_redis(settings) as redis:
                for number in range(30):
                    await redis.set("reset", number)
                    await proxy.reset()
                    await asyncio.sleep(0.01)
                    assert await redis.get("reset") == str(number).encode()

    uvloop.run(scenario())
