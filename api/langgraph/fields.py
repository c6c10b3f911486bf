"""Fields of the LangGraph API's requests: JSON objects that clients choose, and what is refused by name."""

import json
from dataclasses import dataclass
from typing import Annotated, Any, cast

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema, to_json


class Request(BaseModel):
    """The body of a request; fields that it does not know are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)


_NOTHING: tuple[object, ...] = (None, False, 0, "", [], {})


@dataclass(frozen=True, slots=True)
class Unserved:
    """Marks a field that the reference has and this service does not; one that would change something is refused."""

    why: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:  # noqa: ANN401 - Pydantic's own name and signature
        """Refuse whatever would change something."""
        return core_schema.no_info_before_validator_function(self._refuse, handler(source))

    def __get_pydantic_json_schema__(self, _: CoreSchema, __: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Describe the field."""
        return {"enum": [*_NOTHING], "description": f"Not served: {self.why}"}

    def _refuse(self, value: object) -> None:
        if value not in _NOTHING:
            raise ValueError(f"is not served: {self.why}")


def _plain(value: Any) -> Any:  # noqa: ANN401 - any JSON
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
        to_json([[[[[[[[value]]]]]]]])  # Pydantic writes about 250 levels, and what stores it adds some
    except (RecursionError, ValueError):
        raise ValueError("must be JSON with valid Unicode, without NaN and Infinity, and not nested deeply") from None
    return value


PLAIN = AfterValidator(_plain)
"""Marks JSON that can be stored, and sent again as it is."""

JsonObject = Annotated[dict[str, Any], PLAIN]
"""An object that clients choose."""


def _whole(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


WHOLE = BeforeValidator(_whole)
"""Marks an integer, which JSON may write as 10.0."""


def contains(value: object, part: object) -> bool:
    """Return whether `value` has all of `part`, as Postgres' operator `@>` compares JSON documents."""
    if isinstance(part, dict):
        fields, wanted = cast("dict[str, object]", value), cast("dict[str, object]", part)
        return isinstance(value, dict) and all(
            name in fields and contains(fields[name], each) for name, each in wanted.items()
        )
    if isinstance(part, list):
        items, needed = cast("list[object]", value), cast("list[object]", part)
        return isinstance(value, list) and all(any(contains(item, each) for item in items) for each in needed)
    if isinstance(value, bool) or isinstance(part, bool):
        return value is part
    return value == part
