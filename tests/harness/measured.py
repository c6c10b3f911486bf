"""The metrics of a service."""

import httpx
from prometheus_client.parser import text_string_to_metric_families


async def measured(client: httpx.AsyncClient, name: str, /, **labels: str) -> float:
    """Return the sum of a metric's samples with these labels; a process sums over all its applications."""
    answer = await client.get("/metrics")
    assert answer.status_code == 200, answer.text
    return sum(
        sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )
