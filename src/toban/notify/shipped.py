"""What explains what in every shop."""

from typing import Final

from toban.notify.settings import Inhibition

_NO_SHOP: Final = (
    "high_response_time|high_error_rate|order_failure_rate|orders_stopped|storefront_down|worker_.*|queue_.*|"
    "payment.*|scheduled_task_.*"
)

INHIBITIONS: Final = (
    Inhibition.model_validate(
        {"source": ['alertname="application_down"'], "target": [f'alertname=~"{_NO_SHOP}"', 'severity!="info"']}
    ),
    Inhibition.model_validate(
        {
            "source": ['alertname="database_connection_failed"'],
            "target": ['alertname=~"database_.*|' + _NO_SHOP + '"'],
        }
    ),
    Inhibition.model_validate(
        {"source": ['alertname="redis_connection_failed"'], "target": ['alertname=~"redis_.*|queue_.*|worker_.*"']}
    ),
)
"""
A shop that is down has no other trouble that anybody should hear of one by one: the message lists what it explains.

`application_down` itself is never held back: that the shop can't sell is what somebody must hear.
"""
