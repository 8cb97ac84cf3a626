"""What the first page shows of a shop beyond its health: its components and its sales."""

import contextlib
from collections.abc import Sequence
from datetime import tzinfo

from toban.core.errors import TobanError
from toban.core.ports import Clock, QueryEngine
from toban.core.single_flight import SingleFlight
from toban.health.components import ComponentFigure, evaluate_components
from toban.health.sales import Sales, SalesReport


class ShopReport:
    """Evaluates components and sales; concurrent requests share one evaluation."""

    def __init__(self, engine: QueryEngine, clock: Clock, zone: tzinfo) -> None:
        """``zone`` is that in which a day begins."""
        self._engine = engine
        self._clock = clock
        self._report = SalesReport(engine, clock, zone)
        self._components = SingleFlight(self._find_components)
        self._sales = SingleFlight(self._find_sales)

    async def components(self) -> Sequence[ComponentFigure]:
        """Return the figures of the components; none while they can't be queried."""
        return await self._components.get()

    async def sales(self) -> Sales | None:
        """Return the sales of today; None where no orders are counted, or while they can't be queried."""
        return await self._sales.get()

    async def _find_components(self) -> Sequence[ComponentFigure]:
        with contextlib.suppress(TobanError):  # the checks report the error
            return await evaluate_components(self._engine, self._clock)
        return []

    async def _find_sales(self) -> Sales | None:
        with contextlib.suppress(TobanError):  # the checks report the error
            return await self._report.today()
        return None
