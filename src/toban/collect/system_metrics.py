"""Metrics of a machine, by whichever collector reads them."""

from typing import Final

from toban.core.samples import counter, gauge

MACHINE_LABELS: Final = ("app", "region")
"""The labels by which `fly` tells machines apart; `host` reads one machine, its target."""

CPU: Final = gauge(
    "system_cpu_usage_percent",
    "Share of CPU time since the last collection that was not idle.",
    optional_labels=MACHINE_LABELS,
)
MEMORY: Final = gauge(
    "system_memory_usage_bytes",
    "Memory in use: total less what is available to programs.",
    "bytes",
    optional_labels=MACHINE_LABELS,
)
MEMORY_SIZE: Final = gauge("system_memory_size_bytes", "Total memory.", "bytes", optional_labels=MACHINE_LABELS)
DISK: Final = gauge(
    "system_disk_usage_bytes",
    "Used space of a mounted file system.",
    "bytes",
    labels=("mount",),
    optional_labels=MACHINE_LABELS,
)
DISK_SIZE: Final = gauge(
    "system_disk_size_bytes",
    "Size of a mounted file system.",
    "bytes",
    labels=("mount",),
    optional_labels=MACHINE_LABELS,
)
DISK_AVAILABLE: Final = gauge(
    "system_disk_available_bytes",
    "Space that programs may still use.",
    "bytes",
    labels=("mount",),
    optional_labels=MACHINE_LABELS,
)
LOAD: Final = gauge(
    "system_load_average", "Load average over 1, 5 and 15 minutes.", labels=("minutes",), optional_labels=MACHINE_LABELS
)
CPUS: Final = gauge("system_cpus", "Number of CPUs.", optional_labels=MACHINE_LABELS)
SWAP: Final = gauge("system_swap_usage_bytes", "Used swap space.", "bytes", optional_labels=MACHINE_LABELS)
BOOTED: Final = gauge(
    "system_boot_time_seconds",
    "Boot time of the machine, in seconds since the epoch.",
    "seconds",
    optional_labels=MACHINE_LABELS,
)
KILLED: Final = counter(
    "system_oom_kills_total", "Processes killed by the kernel because memory ran out.", optional_labels=MACHINE_LABELS
)
RECEIVED: Final = counter(
    "system_network_receive_bytes_total",
    "Bytes received over the network.",
    "bytes",
    labels=("device",),
    optional_labels=MACHINE_LABELS,
)
SENT: Final = counter(
    "system_network_transmit_bytes_total",
    "Bytes sent over the network.",
    "bytes",
    labels=("device",),
    optional_labels=MACHINE_LABELS,
)
NETWORK_ERRORS: Final = counter(
    "system_network_errors_total",
    "Network packets with errors and dropped packets.",
    labels=("device",),
    optional_labels=MACHINE_LABELS,
)


def cpu_percent(before: tuple[float, float], now: tuple[float, float]) -> float:
    """Return the CPU usage between two readings of (busy seconds, all seconds), in percent."""
    busy, whole = now[0] - before[0], now[1] - before[1]
    return min(100.0, max(0.0, 100.0 * busy / whole)) if whole > 0 else 0.0
