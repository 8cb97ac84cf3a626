"""OTLP requests that were captured from a real Vendure 3.7 shop, and their metrics."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.fakes import FakeClock, ListLineSink
from toban.core.metric_registry import MetricRegistry
from toban.core.ports import PaymentDeclines
from toban.ingest.otlp_model import OtlpSignal
from toban.ingest.otlp_receiver import OtlpReceiver
from toban.ingest.otlp_response import Encoding, OtlpResponse
from toban.shop.settings import Services

FOLDER: Final = Path(__file__).parent / "data" / "otlp"
ENCODINGS: Final = {".pb": Encoding.PROTOBUF, ".json": Encoding.JSON}


def files() -> list[Path]:
    """Return all captured bodies."""
    return sorted(path for path in FOLDER.glob("*/*") if path.suffix in ENCODINGS)


def body(name: str) -> bytes:
    """Return a body by the name of its file."""
    return (FOLDER / ("json" if name.endswith(".json") else "proto") / name).read_bytes()


class Ingest:
    """The OTLP receiver, and everything that it records."""

    def __init__(self, declines: PaymentDeclines | None = None, services: Services | None = None) -> None:
        self.clock = FakeClock()
        self.pushed, self.meters, self.lines = MetricRegistry(), MetricRegistry(), ListLineSink()
        self.receiver = OtlpReceiver(self.pushed, services or Services(), self.lines, self.clock, self.meters, declines)

    async def push(self, name: str, content: bytes | None = None) -> OtlpResponse:
        """Push a body with the signal and the encoding of its file name."""
        signal = next(signal for signal in OtlpSignal if f".{signal.value}" in name)
        return await self.receiver.accept(
            signal, ENCODINGS[Path(name).suffix], body(name) if content is None else content
        )

    async def push_all(self, *names: str) -> None:
        """Push some files, one after the other."""
        for name in names:
            response = await self.push(name)
            assert (response.status, response.body) in {(200, b""), (200, b"{}")}, name

    def values(self, *families: str) -> dict[str, float]:
        """Return the value of each series; of a histogram its count."""
        return {
            series: value
            for series, value in self._series_values()
            if not families or series.partition("{")[0].removesuffix("_count") in families
        }

    def _series_values(self) -> Iterator[tuple[str, float]]:
        for family, labels, values in self.pushed.series():
            suffix = "_count" if family.type.value == "histogram" else ""
            inside = ",".join(f'{name}="{value}"' for name, value in sorted(labels.items()) if value)
            yield f"{family.name}{suffix}{{{inside}}}", values[-1]
