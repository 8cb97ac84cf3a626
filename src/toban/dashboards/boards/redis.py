"""Redis: memory, commands, hits, clients; Upstash's limits where they are known."""

from toban.core.number_format import Unit
from toban.dashboards.board import Board, Level, Panel, PanelType, Query, Row, Threshold

BOARD = Board(
    name="redis",
    title="Redis",
    description="Memory, commands, clients and persistence; the limits of the plan where Upstash runs it.",
    description_ja="メモリ、コマンド、クライアント、永続化。Upstash ではプランの上限も表示します。",
    panels=(
        Panel(
            title="Memory",
            title_ja="メモリ",
            queries=(
                Query(expr="redis_memory_usage_bytes", legend="used", legend_ja="使用中"),
                Query(expr="redis_memory_limit_bytes", legend="limit", legend_ja="上限"),
            ),
            unit=Unit.BYTES,
            min=0,
        ),
        Panel(
            title="Commands",
            title_ja="コマンド",
            queries=(
                Query(
                    expr="topk(10, sum by (command) (rate(redis_commands_processed_total[$__rate_interval])))",
                    legend="{{command}}",
                ),
            ),
            unit=Unit.PER_SECOND,
        ),
        Panel(
            title="Hit ratio",
            title_ja="ヒット率",
            queries=(
                Query(
                    expr="rate(redis_keyspace_hits_total[$__rate_interval])"
                    " / (rate(redis_keyspace_hits_total[$__rate_interval])"
                    " + rate(redis_keyspace_misses_total[$__rate_interval]))",
                    legend="{{instance}}",
                ),
            ),
            unit=Unit.SHARE,
            min=0,
            max=1,
        ),
        Panel(
            title="Clients",
            title_ja="クライアント",
            queries=(
                Query(expr="redis_connected_clients", legend="connected", legend_ja="接続中"),
                Query(expr="redis_blocked_clients", legend="blocked", legend_ja="待機中"),
            ),
        ),
        Panel(
            title="Keys",
            title_ja="キー",
            queries=(Query(expr="sum by (db) (redis_keyspace_keys)", legend="{{db}}"),),
        ),
        Panel(
            title="Evicted and expired keys",
            title_ja="追い出されたキーと期限切れのキー",
            queries=(
                Query(expr="rate(redis_evicted_keys_total[$__rate_interval])", legend="evicted", legend_ja="追い出し"),
                Query(expr="rate(redis_expired_keys_total[$__rate_interval])", legend="expired", legend_ja="期限切れ"),
            ),
            unit=Unit.PER_SECOND,
        ),
        Panel(
            title="Errors",
            title_ja="エラー",
            queries=(
                Query(expr="sum by (error) (increase(redis_errors_total[$__rate_interval]))", legend="{{error}}"),
            ),
        ),
        Panel(
            title="Network",
            title_ja="ネットワーク",
            queries=(
                Query(expr="rate(redis_net_input_bytes_total[$__rate_interval])", legend="received", legend_ja="受信"),
                Query(expr="rate(redis_net_output_bytes_total[$__rate_interval])", legend="sent", legend_ja="送信"),
            ),
            unit=Unit.BYTES_PER_SECOND,
        ),
    ),
    rows=(
        Row(
            title="Upstash",
            panels=(
                Panel(
                    title="Commands of the month",
                    title_ja="今月のコマンド数",
                    type=PanelType.GAUGE,
                    queries=(Query(expr="upstash_commands_month / upstash_commands_month_limit"),),
                    unit=Unit.SHARE,
                    min=0,
                    max=1,
                    thresholds=(Threshold(value=0.8, level=Level.WARNING), Threshold(value=0.95, level=Level.CRITICAL)),
                    width=6,
                ),
                Panel(
                    title="Storage",
                    title_ja="ストレージ",
                    type=PanelType.GAUGE,
                    queries=(Query(expr="upstash_storage_bytes / upstash_storage_limit_bytes"),),
                    unit=Unit.SHARE,
                    min=0,
                    max=1,
                    thresholds=(Threshold(value=0.8, level=Level.WARNING), Threshold(value=0.95, level=Level.CRITICAL)),
                    width=6,
                ),
                Panel(
                    title="Latency (p99)",
                    title_ja="レイテンシ (p99)",
                    queries=(Query(expr="upstash_latency_p99_seconds", legend="{{instance}}"),),
                    unit=Unit.SECONDS,
                ),
            ),
        ),
    ),
)
