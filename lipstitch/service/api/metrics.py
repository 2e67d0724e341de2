"""What Prometheus reads: counted from the store each time, so that nothing is lost when a server starts anew."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import get_args

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from lipstitch.service.queue import Queue
from lipstitch.service.settings import ServiceSettings
from lipstitch.service.store import Status, Store
from lipstitch.service.upkeep import count_workers


class ServiceCollector(Collector):
    """Counts generations, workers and what waits."""

    def __init__(self, settings: ServiceSettings, store: Store, queue: Queue) -> None:
        self._settings, self._store, self._queue = settings, store, queue

    def collect(self) -> Iterator[Metric]:
        """Yield the figures of this moment."""
        counts: Counter[Status] = Counter()
        rendering = rendered = 0.0
        for generation in self._store.ids():
            state = self._store.state(generation)
            if state is None:
                continue
            counts[state.status] += 1
            if state.status == "COMPLETED" and state.started_at and state.finished_at:
                rendering += (state.finished_at - state.started_at).total_seconds()
                rendered += state.output_seconds or 0.0
        generations = GaugeMetricFamily(
            "lipstitch_generations", "Generations that are kept, by status.", labels=["status"]
        )
        for status in get_args(Status):
            generations.add_metric([status], counts[status])
        yield generations
        workers, waiting = count_workers(self._settings.folder), len(self._queue.waiting())
        yield GaugeMetricFamily("lipstitch_workers", "Worker processes that are alive.", value=workers)
        yield GaugeMetricFamily("lipstitch_queue", "Generations that no worker has taken yet.", value=waiting)
        yield GaugeMetricFamily("lipstitch_work_seconds", "Spent on the completed generations kept.", value=rendering)
        yield GaugeMetricFamily("lipstitch_output_seconds", "Length of the results that are kept.", value=rendered)


def write_metrics(collector: Collector) -> bytes:
    """Return the figures in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(collector)
    return generate_latest(registry)
