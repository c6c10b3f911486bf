"""Addresses of model servers, and the URLs that are asked."""

import pytest

from graph.address import Address, is_azure

CHAT = "/chat/completions"
OLD = "https://acme.openai.azure.com/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21"


@pytest.mark.parametrize(
    ("base_url", "asked"),
    [
        ("http://localhost:8080/v1/", "http://localhost:8080/v1/chat/completions"),
        ("https://gate.example/v1?team=support", "https://gate.example/v1/chat/completions?team=support"),
        ("https://acme.openai.azure.com/?api-version=2024-10-21", OLD),
        ("https://acme.openai.azure.com/openai?api-version=2024-10-21", OLD),
        ("https://acme.openai.azure.com/openai/deployments/other?api-version=2024-10-21", OLD),
        ("https://acme.openai.azure.com/openai/v1/", "https://acme.openai.azure.com/openai/v1/chat/completions"),
        (
            "https://acme.openai.azure.com/openai/v1?api-version=preview",
            "https://acme.openai.azure.com/openai/v1/chat/completions?api-version=preview",
        ),
        (
            "https://acme.services.ai.azure.com/models?api-version=2024-05-01-preview",
            "https://acme.services.ai.azure.com/models/chat/completions?api-version=2024-05-01-preview",
        ),
        (
            "https://apim.example/llm?api-version=2024-10-21",
            "https://apim.example/llm/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21",
        ),
    ],
)
def test_a_model_is_asked_where_its_server_expects_it(base_url: str, asked: str) -> None:
    """The path of the address is kept, and so is its query."""
    address = Address.of(base_url)
    assert address.url(address.path("gpt-4o", CHAT)) == asked


def test_the_header_of_azure_goes_to_azure_alone() -> None:
    """Other servers get the key once."""
    assert is_azure("https://acme.openai.azure.com/openai/v1")
    assert is_azure("https://apim.example/llm?api-version=2024-10-21")
    assert not is_azure("https://api.openai.com/v1")
