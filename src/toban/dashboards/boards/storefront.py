"""What customers meet: pages, certificates, the shop check, monitors outside."""

from toban.core.number_format import Unit
from toban.dashboards.board import Board, Level, Panel, PanelType, Query, Row, Threshold

BOARD = Board(
    name="storefront",
    title="Storefront",
    title_ja="ストアフロント",
    description="Pages, the shop check, certificates, and monitors outside.",
    description_ja="ページ、購入手順の確認、証明書、外部監視。",
    panels=(
        Panel(
            title="Up",
            title_ja="稼働",
            type=PanelType.STATE_TIMELINE,
            queries=(Query(expr='up{job=~"storefront|vendure|http.*"}', legend="{{job}} {{instance}}"),),
            unit=Unit.NONE,
            thresholds=(Threshold(value=1, level=Level.OK),),
            base_level=Level.CRITICAL,
            width=24,
            height=6,
        ),
        Panel(
            title="Duration of probes",
            title_ja="確認にかかった時間",
            queries=(Query(expr="probe_duration_seconds", legend="{{job}} {{instance}}"),),
            unit=Unit.SECONDS,
            min=0,
        ),
        Panel(
            title="Status codes",
            title_ja="ステータスコード",
            queries=(Query(expr="probe_http_status_code", legend="{{job}} {{instance}}"),),
            unit=Unit.NONE,
        ),
        Panel(
            title="Certificates expire",
            title_ja="証明書の期限",
            type=PanelType.TABLE,
            queries=(Query(expr="probe_ssl_earliest_cert_expiry * 1000", legend="{{instance}}"),),
            unit=Unit.TIMESTAMP,
        ),
        Panel(
            title="Size of the page",
            title_ja="ページの大きさ",
            queries=(Query(expr="probe_http_uncompressed_body_length", legend="{{instance}}"),),
            unit=Unit.BYTES,
        ),
    ),
    rows=(
        Row(
            title="Shop check",
            title_ja="購入手順の確認",
            panels=(
                Panel(
                    title="Steps",
                    title_ja="手順",
                    type=PanelType.STATE_TIMELINE,
                    queries=(Query(expr="vendure_shop_check_up", legend="{{step}}"),),
                    unit=Unit.NONE,
                    thresholds=(Threshold(value=1, level=Level.OK),),
                    base_level=Level.CRITICAL,
                ),
                Panel(
                    title="Duration of steps",
                    title_ja="手順の時間",
                    queries=(Query(expr="vendure_shop_check_seconds", legend="{{step}}"),),
                    unit=Unit.SECONDS,
                    min=0,
                ),
            ),
        ),
        Row(
            title="Requests of the storefront",
            title_ja="ストアフロントのリクエスト",
            panels=(
                Panel(
                    title="Requests by status",
                    title_ja="ステータス別のリクエスト",
                    queries=(
                        Query(
                            expr="sum by (status) (rate(storefront_requests_total[$__rate_interval]))",
                            legend="{{status}}",
                        ),
                    ),
                    unit=Unit.REQUESTS_PER_SECOND,
                ),
                Panel(
                    title="Response time (p95)",
                    title_ja="応答時間 (p95)",
                    queries=(
                        Query(
                            expr="histogram_quantile(0.95, sum by (le, endpoint)"
                            " (rate(storefront_request_duration_seconds_bucket[$__rate_interval])))",
                            legend="{{endpoint}}",
                        ),
                    ),
                    unit=Unit.SECONDS,
                ),
            ),
        ),
        Row(
            title="Outside",
            title_ja="外部監視",
            panels=(
                Panel(
                    title="UptimeRobot",
                    type=PanelType.STATE_TIMELINE,
                    queries=(Query(expr="uptimerobot_monitor_up", legend="{{monitor}}"),),
                    unit=Unit.NONE,
                    thresholds=(Threshold(value=1, level=Level.OK),),
                    base_level=Level.CRITICAL,
                ),
                Panel(
                    title="Uptime of the last day",
                    title_ja="直近1日の稼働率",
                    type=PanelType.BAR_GAUGE,
                    queries=(Query(expr="uptimerobot_monitor_uptime_ratio", legend="{{monitor}}"),),
                    unit=Unit.SHARE,
                    thresholds=(Threshold(value=0.99, level=Level.OK),),
                    base_level=Level.WARNING,
                ),
            ),
        ),
    ),
)
