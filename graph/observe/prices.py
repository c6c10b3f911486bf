"""Prices of models, from `genai-prices`."""

from collections.abc import Iterable
from functools import lru_cache

from genai_prices import Usage, calc_price

from graph.observe.report import ModelCall

OPENAI = "https://api.openai.com/v1"
"""The model's server, unless another one is configured."""

_TOKENS = 1000  # per price lookup


@lru_cache(100)
def _rates(server: str, model: str) -> tuple[float, float] | None:
    try:
        price = calc_price(Usage(input_tokens=_TOKENS, output_tokens=_TOKENS), model, provider_api_url=server)
    except LookupError:
        return None
    return float(price.input_price) / _TOKENS, float(price.output_price) / _TOKENS


def cost(server: str, model: str, input_tokens: int, output_tokens: int) -> tuple[float, float] | None:
    """Return the cost of a model's input and output in US dollars; None if the server's prices are unknown."""
    rates = _rates(server, model)
    return (rates[0] * input_tokens, rates[1] * output_tokens) if rates else None


def cost_of(server: str, calls: Iterable[ModelCall]) -> float | None:
    """Return what calls cost together, in US dollars; None if one has a price that is unknown."""
    costs = [cost(server, call.model, call.input_tokens, call.output_tokens) for call in calls]
    return None if None in costs else sum(sum(each) for each in costs if each)
