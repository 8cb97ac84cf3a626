"""The dashboard of the original design, to the letter: its panels, expressions, titles and legends."""

from toban.core.number_format import Unit
from toban.dashboards.board import Board, Level, Panel, PanelType, Query, Row, Threshold

BOARD = Board(
    name="production",
    title="Vendure Production Dashboard",
    title_ja="Vendure 本番ダッシュボード",
    panels=(
        Panel(
            title="API Response Time",
            title_ja="API 応答時間",
            queries=(
                Query(
                    expr="histogram_quantile(0.95, rate(vendure_api_duration_seconds_bucket[5m]))",
                    legend="95th percentile",
                    legend_ja="95 パーセンタイル",
                ),
                Query(
                    expr="histogram_quantile(0.50, rate(vendure_api_duration_seconds_bucket[5m]))",
                    legend="50th percentile",
                    legend_ja="50 パーセンタイル",
                ),
            ),
            unit=Unit.SECONDS,
            axis_label="Response Time (seconds)",
            max=5,
        ),
        Panel(
            title="Request Rate",
            title_ja="リクエスト数",
            queries=(Query(expr="rate(vendure_api_requests_total[5m])", legend="{{endpoint}} - {{method}}"),),
            unit=Unit.REQUESTS_PER_SECOND,
        ),
        Panel(
            title="Error Rate",
            title_ja="エラー率",
            type=PanelType.STAT,
            queries=(
                Query(
                    expr='rate(vendure_api_requests_total{status=~"5.."}[5m]) / rate(vendure_api_requests_total[5m])'
                    " * 100"
                ),
            ),
            unit=Unit.PERCENT,
            thresholds=(Threshold(value=1, level=Level.WARNING), Threshold(value=5, level=Level.CRITICAL)),
            colored_background=True,
            width=6,
        ),
        Panel(
            title="Database Connections",
            title_ja="データベース接続数",
            queries=(
                Query(expr="postgres_active_connections", legend="Active Connections", legend_ja="使用中の接続"),
                Query(
                    expr='postgres_connection_pool_size{state="idle"}', legend="Idle Pool", legend_ja="待機中のプール"
                ),
            ),
            width=9,
        ),
        Panel(
            title="Redis Memory Usage",
            title_ja="Redis メモリ使用量",
            queries=(
                Query(
                    expr="redis_memory_usage_bytes / 1024 / 1024",
                    legend="Memory Usage (MB)",
                    legend_ja="メモリ使用量 (MB)",
                ),
            ),
            width=9,
        ),
    ),
    rows=(
        Row(
            title="Business Metrics",
            title_ja="ビジネス指標",
            panels=(
                Panel(
                    title="Orders per Hour",
                    title_ja="1時間あたりの注文数",
                    queries=(Query(expr="rate(vendure_orders_created_total[1h]) * 3600", legend="{{customerType}}"),),
                ),
                Panel(
                    title="Revenue per Hour",
                    title_ja="1時間あたりの売上",
                    queries=(
                        Query(
                            expr="rate(vendure_order_total_amount_sum[1h]) * 3600",
                            legend="Revenue (JPY/hour)",
                            legend_ja="売上 (円/時)",
                        ),
                    ),
                ),
            ),
        ),
    ),
)
