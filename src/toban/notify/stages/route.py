"""Route: find the channels of each alert."""

from dataclasses import replace

from toban.core.item_isolation import ItemIsolation
from toban.notify.pipeline_run import PipelineRun
from toban.notify.routing import Destination


def route(run: PipelineRun, isolation: ItemIsolation) -> PipelineRun:
    """Find the destinations of each alert."""
    destinations: dict[str, list[Destination]] = {}
    reasons = []
    for name, tracked in run.alerts.items():
        with isolation.item("alert", name):
            destinations[name] = run.policy.routing.route(tracked.alert.labels)
            reasons += [(name, f"to {', '.join(it.channels) or 'nobody'} by {it.why}") for it in destinations[name]]
    return replace(run, destinations=destinations).noted("route", reasons)
