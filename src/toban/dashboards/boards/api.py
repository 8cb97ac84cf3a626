"""The shop's APIs: traffic, errors, durations, and which operation is slow."""

from toban.core.number_format import Unit
from toban.dashboards.board import Board, Level, Panel, PanelType, Query, Row, Threshold, Variable

ENDPOINT = 'endpoint=~"$endpoint"'

BOARD = Board(
    name="api",
    title="APIs",
    title_ja="API",
    description="Requests of the Shop API and Admin API, from the shop's telemetry.",
    description_ja="Shop API と Admin API へのリクエスト。ショップのテレメトリから作ります。",
    variables=(
        Variable(
            name="endpoint",
            title="Endpoint",
            title_ja="エンドポイント",
            metric="vendure_api_requests_total",
            label="endpoint",
        ),
    ),
    panels=(
        Panel(
            title="Requests",
            title_ja="リクエスト数",
            queries=(
                Query(
                    expr=f"sum by (endpoint) (rate(vendure_api_requests_total{{{ENDPOINT}}}[$__rate_interval]))",
                    legend="{{endpoint}}",
                ),
            ),
            unit=Unit.REQUESTS_PER_SECOND,
            width=8,
        ),
        Panel(
            title="Failed requests",
            title_ja="失敗したリクエスト",
            queries=(
                Query(
                    expr=f'(sum(rate(vendure_api_requests_total{{{ENDPOINT}, status=~"5.."}}[$__rate_interval]))'
                    f" or vector(0)) / sum(rate(vendure_api_requests_total{{{ENDPOINT}}}[$__rate_interval]))",
                    legend="HTTP 5xx",
                ),
                Query(
                    expr='(sum(rate(vendure_graphql_errors_total{fault="shop"}[$__rate_interval])) or vector(0))'
                    " / sum(rate(vendure_graphql_duration_seconds_count[$__rate_interval]))",
                    legend="GraphQL errors of the shop",
                    legend_ja="ショップ側の GraphQL エラー",
                ),
            ),
            unit=Unit.SHARE,
            min=0,
            thresholds=(Threshold(value=0.01, level=Level.WARNING), Threshold(value=0.05, level=Level.CRITICAL)),
            width=8,
        ),
        Panel(
            title="Response time",
            title_ja="応答時間",
            queries=tuple(
                Query(
                    expr=f"histogram_quantile({quantile}, sum by (le)"
                    f" (rate(vendure_api_latency_seconds_bucket{{{ENDPOINT}}}[$__rate_interval])))",
                    legend=f"p{quantile * 100:g}",
                    fill_below_to="p50" if quantile == 0.95 else "",
                )
                for quantile in (0.5, 0.95, 0.99)
            ),
            unit=Unit.SECONDS,
            min=0,
            thresholds=(Threshold(value=2, level=Level.WARNING),),
            width=8,
        ),
        Panel(
            title="Response times",
            title_ja="応答時間の分布",
            type=PanelType.HEATMAP,
            queries=(
                Query(
                    expr=f"sum by (le) (increase(vendure_api_latency_seconds_bucket{{{ENDPOINT}}}[$__rate_interval]))",
                    legend="{{le}}",
                ),
            ),
            unit=Unit.SECONDS,
        ),
        Panel(
            title="Connection errors of the shop's processes",
            title_ja="ショップのプロセスの接続エラー",
            queries=(
                Query(
                    expr="sum by (system) (increase(vendure_connection_errors_total[$__rate_interval]))",
                    legend="{{system}}",
                ),
            ),
        ),
    ),
    rows=(
        Row(
            title="GraphQL operations",
            title_ja="GraphQL 操作",
            panels=(
                Panel(
                    title="Slowest operations (p95)",
                    title_ja="遅い操作 (p95)",
                    queries=(
                        Query(
                            expr="topk(10, histogram_quantile(0.95, sum by (le, operation)"
                            " (rate(vendure_graphql_latency_seconds_bucket[$__rate_interval]))))",
                            legend="{{operation}}",
                        ),
                    ),
                    unit=Unit.SECONDS,
                ),
                Panel(
                    title="Most time in all",
                    title_ja="合計時間の長い操作",
                    type=PanelType.BAR_GAUGE,
                    queries=(
                        Query(
                            expr="topk(10, sum by (operation)"
                            " (rate(vendure_graphql_duration_seconds_sum[$__rate_interval])))",
                            legend="{{operation}}",
                        ),
                    ),
                    unit=Unit.SHARE,
                ),
                Panel(
                    title="Errors by operation and code",
                    title_ja="操作とコード別のエラー",
                    queries=(
                        Query(
                            expr="topk(10, sum by (operation, code)"
                            " (increase(vendure_graphql_errors_total[$__rate_interval])))",
                            legend="{{operation}} {{code}}",
                        ),
                    ),
                ),
                Panel(
                    title="Refusals by operation and code",
                    title_ja="操作とコード別の拒否",
                    description="ErrorResults: a declined payment, a failed login, a coupon that is not valid.",
                    description_ja="ErrorResult: 支払いの拒否、ログイン失敗、無効なクーポンなど。",
                    queries=(
                        Query(
                            expr="topk(10, sum by (operation, code)"
                            " (increase(vendure_error_results_total[$__rate_interval])))",
                            legend="{{operation}} {{code}}",
                        ),
                    ),
                ),
            ),
        ),
        Row(
            title="Node.js",
            panels=(
                Panel(
                    title="Event loop delay (p99)",
                    title_ja="イベントループの遅延 (p99)",
                    queries=(Query(expr="nodejs_eventloop_delay_p99_seconds", legend="{{job}} {{instance}}"),),
                    unit=Unit.SECONDS,
                    thresholds=(Threshold(value=0.3, level=Level.WARNING),),
                ),
                Panel(
                    title="Time of service methods",
                    title_ja="サービスメソッドの時間",
                    queries=(
                        Query(
                            expr="topk(10, sum by (service_method)"
                            " (rate(vendure_service_duration_seconds_sum[$__rate_interval])))",
                            legend="{{service_method}}",
                        ),
                    ),
                    unit=Unit.SHARE,
                ),
            ),
        ),
    ),
)
