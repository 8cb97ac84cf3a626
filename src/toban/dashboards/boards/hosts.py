"""Machines: CPU, memory, disks, network; on Fly also their state and restarts."""

from toban.core.number_format import Unit
from toban.dashboards.board import Board, Level, Panel, PanelType, Query, Row, Threshold, Variable

INSTANCE = 'instance=~"$instance"'

BOARD = Board(
    name="hosts",
    title="Machines",
    title_ja="マシン",
    description="CPU, memory, disks and network of each machine.",
    description_ja="各マシンの CPU、メモリ、ディスク、ネットワーク。",
    variables=(
        Variable(
            name="instance", title="Machine", title_ja="マシン", metric="system_memory_size_bytes", label="instance"
        ),
    ),
    panels=(
        Panel(
            title="CPU",
            queries=(Query(expr=f"system_cpu_usage_percent{{{INSTANCE}}}", legend="{{instance}}"),),
            unit=Unit.PERCENT,
            min=0,
            max=100,
        ),
        Panel(
            title="Memory",
            title_ja="メモリ",
            queries=(
                Query(
                    expr=f"system_memory_usage_bytes{{{INSTANCE}}} / system_memory_size_bytes{{{INSTANCE}}}",
                    legend="{{instance}}",
                ),
            ),
            unit=Unit.SHARE,
            min=0,
            max=1,
            thresholds=(Threshold(value=0.85, level=Level.WARNING),),
        ),
        Panel(
            title="Disks",
            title_ja="ディスク",
            queries=(
                Query(
                    expr=f"1 - system_disk_available_bytes{{{INSTANCE}}} / system_disk_size_bytes{{{INSTANCE}}}",
                    legend="{{instance}} {{mount}}",
                ),
            ),
            unit=Unit.SHARE,
            min=0,
            max=1,
            thresholds=(Threshold(value=0.85, level=Level.WARNING), Threshold(value=0.95, level=Level.CRITICAL)),
        ),
        Panel(
            title="Load",
            title_ja="ロードアベレージ",
            queries=(Query(expr=f'system_load_average{{{INSTANCE}, minutes="5"}}', legend="{{instance}}"),),
        ),
        Panel(
            title="Network",
            title_ja="ネットワーク",
            queries=(
                Query(
                    expr="sum by (instance) (rate(system_network_receive_bytes_total"
                    f"{{{INSTANCE}}}[$__rate_interval]))",
                    legend="{{instance}} received",
                    legend_ja="{{instance}} 受信",
                ),
                Query(
                    expr="sum by (instance) (rate(system_network_transmit_bytes_total"
                    f"{{{INSTANCE}}}[$__rate_interval]))",
                    legend="{{instance}} sent",
                    legend_ja="{{instance}} 送信",
                ),
            ),
            unit=Unit.BYTES_PER_SECOND,
        ),
        Panel(
            title="Swap",
            title_ja="スワップ",
            queries=(Query(expr=f"system_swap_usage_bytes{{{INSTANCE}}}", legend="{{instance}}"),),
            unit=Unit.BYTES,
        ),
    ),
    rows=(
        Row(
            title="Fly.io",
            panels=(
                Panel(
                    title="State",
                    title_ja="状態",
                    type=PanelType.STATE_TIMELINE,
                    queries=(Query(expr="fly_machine_as_wanted", legend="{{app}} {{instance}}"),),
                    unit=Unit.NONE,
                    thresholds=(Threshold(value=1, level=Level.OK),),
                    base_level=Level.CRITICAL,
                ),
                Panel(
                    title="Restarts",
                    title_ja="再起動",
                    queries=(Query(expr="fly_machine_restarts", legend="{{app}} {{instance}}"),),
                ),
                Panel(
                    title="Responses at the edge",
                    title_ja="エッジでの応答",
                    queries=(
                        Query(
                            expr="sum by (app, status) (rate(fly_edge_http_responses_count[$__rate_interval]))",
                            legend="{{app}} {{status}}",
                        ),
                    ),
                    unit=Unit.REQUESTS_PER_SECOND,
                ),
                Panel(
                    title="Volumes",
                    title_ja="ボリューム",
                    queries=(Query(expr="fly_volume_used_ratio", legend="{{app}} {{volume}}"),),
                    unit=Unit.SHARE,
                    min=0,
                    max=1,
                ),
            ),
        ),
    ),
)
