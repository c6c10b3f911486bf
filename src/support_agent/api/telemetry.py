"""What operators see of the service: metrics for Prometheus, and OpenTelemetry's traces where they are wanted.

Providers are the process's own, as OpenTelemetry has them: they are set when the first application is made.
"""

import os
from functools import cache

from fastapi.telemetry import TelemetryConfig
from opentelemetry import metrics, trace
from opentelemetry.context import Context
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import Span, SpanProcessor, TracerProvider
from starlette.types import Scope

from support_agent import __version__
from support_agent.graph.tracing import NAME

_UNINTERESTING = frozenset({"/health", "/ready", "/metrics"})
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")

_meter = metrics.get_meter("support_agent")

requests_limited = _meter.create_counter("support_agent.rate_limited", description="Requests refused with 429.")
answers = _meter.create_counter("support_agent.answers", description="Answers of /ask and /stream, by their X-Cache.")
open_streams = _meter.create_up_down_counter(
    "support_agent.open_streams", description="Open SSE streams and WebSockets."
)


def telemetry() -> TelemetryConfig:
    """Return what FastAPI shall measure, and set the process's providers."""
    traced = any(os.environ.get(name) for name in _ENDPOINTS)
    return TelemetryConfig(
        meter_provider=_meter_provider(),
        tracer_provider=_tracer_provider() if traced else None,
        tracing=traced,
        logs=False,
        operation_spans=False,
        auto_configure=traced,  # adds exporters to what OTEL_EXPORTER_OTLP_* say
        exclude=_is_uninteresting,
    )


class _WithoutWords(SpanProcessor):
    """Takes out of spans what customers ask."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:  # noqa: ARG002 - its signature
        """Overwrite a query string."""
        if span.attributes and "url.query" in span.attributes:
            span.set_attribute("url.query", "[dropped]")


@cache
def _meter_provider() -> MeterProvider:
    reader = PrometheusMetricReader(disable_target_info=True, scope_info_enabled=False)
    provider = MeterProvider([reader], resource=_resource())
    metrics.set_meter_provider(provider)
    requests_limited.add(0)  # so that it is there before it is needed
    return provider


@cache
def _tracer_provider() -> TracerProvider:
    provider = TracerProvider(resource=_resource())
    provider.add_span_processor(_WithoutWords())
    trace.set_tracer_provider(provider)
    return provider


def _resource() -> Resource:
    return Resource.create({SERVICE_NAME: os.environ.get("OTEL_SERVICE_NAME", NAME), SERVICE_VERSION: __version__})


def _is_uninteresting(scope: Scope) -> bool:
    return scope["path"] in _UNINTERESTING
