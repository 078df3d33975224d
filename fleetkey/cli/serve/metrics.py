"""Metrics for Prometheus, read from the counters of each part at scrape time, so that they cost nothing until then."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import structlog
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from fleetkey import __version__
from fleetkey.broker import EngineError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from prometheus_client.core import Metric

    from fleetkey.access import Authenticator, RefusalLog, RefusalRecorder, WorkerPool
    from fleetkey.broker import BrokerEngine, EngineCounters
    from fleetkey.budget import Budget
    from fleetkey.http import HttpServer
    from fleetkey.operations import Descriptors
    from fleetkey.registration import Registrar
    from fleetkey.registry import ChangeFollower, SteadyClock
    from fleetkey.webhooks import Webhooks

__all__ = ["Metrics"]

log = structlog.get_logger(__name__)


class Metrics:
    """Renders all metrics in Prometheus's text format."""

    def __init__(
        self,
        *,
        registrar: Registrar,
        authenticator: Authenticator,
        recorder: RefusalRecorder,
        api_refusal_log: RefusalLog,
        pool: WorkerPool,
        engine: BrokerEngine,
        webhooks: Webhooks,
        follower: ChangeFollower,
        clock: SteadyClock,
        descriptors: Descriptors,
        http: HttpServer,
        budgets: Sequence[Budget],
    ) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        self._engine = engine
        self._fleet = _Fleet(registrar, authenticator, api_refusal_log, pool, descriptors)
        self._registry.register(self._fleet)
        self._registry.register(_Refusals(recorder))
        self._registry.register(_Hooks(webhooks, follower))
        self._registry.register(_Time(clock))
        self._registry.register(_Http(http))
        self._registry.register(_Budgets(budgets))

    async def render(self) -> bytes:
        """Return the current metrics; those of the engine are missing while it doesn't answer."""
        try:
            self._fleet.engine = await self._engine.counters()
        except EngineError as error:
            log.error("engine_unreachable", error=str(error))  # noqa: TRY400 - the message says it all
            self._fleet.engine = None
        return generate_latest(self._registry)


class _Fleet(Collector):
    def __init__(
        self,
        registrar: Registrar,
        authenticator: Authenticator,
        api_refusal_log: RefusalLog,
        pool: WorkerPool,
        descriptors: Descriptors,
    ) -> None:
        self._registrar = registrar
        self._authenticator = authenticator
        self._refusal_logs = (registrar.refusal_log, authenticator.refusal_log, api_refusal_log)
        self._pool = pool
        self._descriptors = descriptors
        self.engine: EngineCounters | None = None

    def collect(self) -> Iterator[Metric]:
        """Yield each metric."""
        info = GaugeMetricFamily("fleetkey_info", "The version, as a label.", labels=["version"])
        info.add_metric([__version__], 1)
        yield info
        yield _by(
            "fleetkey_registrations",
            "Registrations, by outcome or reason for refusal.",
            "outcome",
            self._registrar.counts,
        )
        yield _by("fleetkey_logins", "Decided CONNECTs, by outcome.", "outcome", self._authenticator.counts)
        yield _gauge("fleetkey_hash_queue", "Calls that run in the hash threads or wait for one.", self._pool.pending)
        yield _by(
            "fleetkey_audit_bounds_reached",
            "Refusals without their own audit entry, by the bound that was reached.",
            "bound",
            self._registrar.refusals.bounds,
        )
        yield _by(
            "fleetkey_unlogged_refusals",
            "Refusals without a line of their own in the log, by the event that the line would have been.",
            "event",
            sum((refusals.unlogged for refusals in self._refusal_logs), Counter()),
        )
        yield _by(
            "fleetkey_descriptor_bounds_reached",
            "How often a bound on open files, or on TLS handshakes, was reached.",
            "bound",
            self._descriptors.bounds,
        )
        if self.engine is not None:
            yield from _engine_metrics(self.engine)


def _engine_metrics(counted: EngineCounters) -> Iterator[Metric]:
    yield _gauge("fleetkey_mqtt_connections", "Open connections, whether admitted yet or not.", counted.connections)
    yield _gauge("fleetkey_mqtt_sessions", "Sessions, connected or not.", counted.sessions)
    yield _gauge("fleetkey_mqtt_retained_messages", "Retained messages.", counted.retained)
    yield CounterMetricFamily(
        "fleetkey_mqtt_messages_received", "Messages that were accepted.", counted.messages_received
    )
    yield CounterMetricFamily(
        "fleetkey_mqtt_messages_delivered",
        "Deliveries of messages to receivers, sent or queued.",
        counted.messages_delivered,
    )
    yield CounterMetricFamily("fleetkey_mqtt_connects", "CONNECTs that were accepted.", counted.connects)
    refusals = {str(code): count for code, count in dict(counted.refusals).items()}
    yield _by("fleetkey_mqtt_refusals", "CONNECTs that were refused, by return code.", "code", refusals)
    yield _by("fleetkey_mqtt_disconnects", "Closed connections, by reason.", "reason", counted.disconnections)
    yield _by("fleetkey_mqtt_bounds_reached", "How often a bound was reached, by setting.", "bound", counted.bounds)
    yield _by(
        "fleetkey_mqtt_held_back_seconds",
        "How long devices over their rate weren't read from, by setting.",
        "bound",
        counted.held_back_seconds,
    )


class _Budgets(Collector):
    def __init__(self, budgets: Sequence[Budget]) -> None:
        self._budgets = budgets

    def collect(self) -> Iterator[Metric]:
        """Yield each metric, for each budget."""
        for budget in self._budgets:
            name, state = f"fleetkey_{budget.resource}", budget.state()
            yield _gauge(f"{name}_limit_bytes", f"The budget for {budget.resource}, in bytes.", state.limit)
            used = GaugeMetricFamily(f"{name}_charged_bytes", "How much of it is in use, by kind.", labels=["kind"])
            for kind, size in sorted(state.kinds.items()):
                used.add_metric([kind], size)
            yield used
            yield _gauge(f"{name}_held_back_owners", "Devices and applications that are held back.", state.held_back)


class _Hooks(Collector):
    def __init__(self, webhooks: Webhooks, follower: ChangeFollower) -> None:
        self._webhooks = webhooks
        self._follower = follower

    def collect(self) -> Iterator[Metric]:
        """Yield each metric, with a sample for each webhook."""
        states, newest = self._webhooks.states(), self._follower.position
        delivered = {state.name: state.delivered for state in states}
        yield _by(
            "fleetkey_webhook_events_delivered", "Events that were accepted by the receiver.", "webhook", delivered
        )
        given_up = {state.name: state.given_up for state in states}
        yield _by(
            "fleetkey_webhook_events_given_up",
            "Events given up after too many attempts to deliver them.",
            "webhook",
            given_up,
        )
        missed = {state.name: state.missed for state in states}
        yield _by(
            "fleetkey_webhook_changes_missed",
            "Changes that were deleted before the webhook processed them.",
            "webhook",
            missed,
        )
        backlog = _gauges("fleetkey_webhook_backlog_changes", "Changes that are yet to be processed.")
        failing = _gauges("fleetkey_webhook_failing", "1 if the last request failed.")
        delivered_at = _gauges("fleetkey_webhook_last_delivered_timestamp_seconds", "When an event was last accepted.")
        for state in states:
            backlog.add_metric([state.name], max(0, newest - state.position))
            failing.add_metric([state.name], int(bool(state.last_error)))
            if state.delivered_at is not None:
                delivered_at.add_metric([state.name], state.delivered_at / 1000)
        yield from (backlog, failing, delivered_at)


class _Refusals(Collector):
    def __init__(self, recorder: RefusalRecorder) -> None:
        self._recorder = recorder

    def collect(self) -> Iterator[Metric]:
        """Yield the refusals by stage and reason, and those without a record of their own."""
        family = CounterMetricFamily("fleetkey_refusals", "Refusals, by stage and reason.", labels=["stage", "reason"])
        for labels, count in sorted(self._recorder.counts.items()):
            family.add_metric(list(labels), count)
        yield family
        text = "Refusals without a record of their own, by the bound that was reached."
        yield _by("fleetkey_refusal_bounds_reached", text, "bound", self._recorder.bounds)


class _Time(Collector):
    def __init__(self, clock: SteadyClock) -> None:
        self._clock = clock

    def collect(self) -> Iterator[Metric]:
        """Yield each metric."""
        difference = self._clock.difference_seconds
        yield CounterMetricFamily("fleetkey_clock_jumps", "How often the system clock jumped.", self._clock.jumps)
        yield GaugeMetricFamily(
            "fleetkey_clock_difference_seconds",
            "How far the system clock is ahead of the server's time.",
            difference,
        )


class _Http(Collector):
    def __init__(self, http: HttpServer) -> None:
        self._http = http

    def collect(self) -> Iterator[Metric]:
        """Yield how often each bound was reached."""
        text = "How often a bound on HTTP was reached, by bound."
        yield _by("fleetkey_http_bounds_reached", text, "bound", self._http.bounds_reached)


def _gauges(name: str, text: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, labels=["webhook"])


def _by(name: str, text: str, label: str, counts: Mapping[str, float]) -> Metric:
    family = CounterMetricFamily(name, text, labels=[label])
    for value, count in sorted(dict(counts).items()):
        family.add_metric([value], count)
    return family


def _gauge(name: str, text: str, value: int) -> Metric:
    return GaugeMetricFamily(name, text, value)
