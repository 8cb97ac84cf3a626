"""Metrics of a machine, by whichever collector reads them."""

from typing import Final

from toban.core.samples import counter, gauge

CPU: Final = gauge("system_cpu_usage_percent", "Share of CPU time since the last collection that was not idle.")
MEMORY: Final = gauge("system_memory_usage_bytes", "Memory in use: total less what is available to programs.", "bytes")
MEMORY_SIZE: Final = gauge("system_memory_size_bytes", "Total memory.", "bytes")
DISK: Final = gauge("system_disk_usage_bytes", "Used space of a mounted file system.", "bytes")
DISK_SIZE: Final = gauge("system_disk_size_bytes", "Size of a mounted file system.", "bytes")
DISK_AVAILABLE: Final = gauge("system_disk_available_bytes", "Space that programs may still use.", "bytes")
LOAD: Final = gauge("system_load_average", "Load average over 1, 5 and 15 minutes.")
CPUS: Final = gauge("system_cpus", "Number of CPUs.")
SWAP: Final = gauge("system_swap_usage_bytes", "Used swap space.", "bytes")
BOOTED: Final = gauge("system_boot_time_seconds", "Boot time of the machine, in seconds since the epoch.", "seconds")
KILLED: Final = counter("system_oom_kills_total", "Processes killed by the kernel because memory ran out.")
RECEIVED: Final = counter("system_network_receive_bytes_total", "Bytes received over the network.", "bytes")
SENT: Final = counter("system_network_transmit_bytes_total", "Bytes sent over the network.", "bytes")
NETWORK_ERRORS: Final = counter("system_network_errors_total", "Network packets with errors and dropped packets.")


def cpu_percent(before: tuple[float, float], now: tuple[float, float]) -> float:
    """Return the CPU usage between two readings of (busy seconds, all seconds), in percent."""
    busy, whole = now[0] - before[0], now[1] - before[1]
    return min(100.0, max(0.0, 100.0 * busy / whole)) if whole > 0 else 0.0
