"""Metrics for Prometheus, and OpenTelemetry traces if an OTLP endpoint is configured.

The providers are global to the process, as OpenTelemetry requires; the first application sets them.
"""

import os
import threading
from functools import cache

from fastapi.telemetry import TelemetryConfig
from opentelemetry import metrics, trace
from opentelemetry.context import Context
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, View
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from starlette._utils import get_route_path  # what routes see of a path
from starlette.types import Scope

from graph import __version__
from graph.observe.metrics import NAMESPACE, SECONDS
from graph.observe.trace import NAME

UNINTERESTING = frozenset({"/health", "/ready", "/metrics"})
"""Paths that probes and Prometheus poll: not measured or traced, and logged only if they fail."""

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")

_REQUESTS = "http.server.request.duration"  # its default buckets end at 10 seconds

_EXIT = 1.5  # seconds

_meter = metrics.get_meter(NAMESPACE)

requests_limited = _meter.create_counter("support_agent.rate_limited", description="Requests refused with 429.")
answers = _meter.create_counter("support_agent.answers", description="Answers of /ask and /stream, by X-Cache.")
open_streams = _meter.create_up_down_counter(
    "support_agent.open_streams", description="Open SSE streams and WebSockets."
)


def telemetry() -> TelemetryConfig:
    """Return FastAPI's telemetry configuration, and set the process's providers."""
    traced = _is_traced()
    return TelemetryConfig(
        meter_provider=_meter_provider(),
        tracer_provider=_tracer_provider() if traced else None,
        tracing=traced,
        logs=False,
        operation_spans=False,
        exclude=_is_uninteresting,
    )


def flush_spans() -> None:
    """Send the queued spans, for at most 1.5 seconds, so that a collector that is down does not delay the shutdown."""
    if _is_traced():
        flushing = threading.Thread(target=_tracer_provider().force_flush, daemon=True)
        flushing.start()
        flushing.join(_EXIT)


class _UrlRemover(SpanProcessor):
    """Removes what clients wrote from spans: the URL's path and query. The route remains."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:  # noqa: ARG002 - its signature
        """Overwrite a request's path and query."""
        for name in ("url.path", "url.query"):
            if span.attributes and name in span.attributes:
                span.set_attribute(name, "[dropped]")


@cache
def _meter_provider() -> MeterProvider:
    reader = PrometheusMetricReader(disable_target_info=True, scope_info_enabled=False)
    view = View(instrument_name=_REQUESTS, aggregation=ExplicitBucketHistogramAggregation(SECONDS))
    provider = MeterProvider([reader], resource=_resource(), views=[view])
    metrics.set_meter_provider(provider)
    requests_limited.add(0)  # so that the metric exists before the first refusal
    return provider


@cache
def _tracer_provider() -> TracerProvider:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # brings requests along

    provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
    provider.add_span_processor(_UrlRemover())
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))  # configured by OTEL_EXPORTER_OTLP_*
    trace.set_tracer_provider(provider)
    return provider


def _is_traced() -> bool:
    return any(os.environ.get(name) for name in _ENDPOINTS)


def _resource() -> Resource:
    return Resource.create({SERVICE_NAME: os.environ.get("OTEL_SERVICE_NAME", NAME), SERVICE_VERSION: __version__})


def _is_uninteresting(scope: Scope) -> bool:
    return get_route_path(scope) in UNINTERESTING
