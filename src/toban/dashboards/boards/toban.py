"""toban itself: collection, evaluation, notification, storage."""

from toban.core.number_format import Unit
from toban.dashboards.board import Board, Level, Panel, PanelType, Query, Row, Threshold

BOARD = Board(
    name="toban",
    title="toban",
    description="Whether toban collects, evaluates, notifies and stores.",
    description_ja="toban 自身の収集、評価、通知、保存。",
    panels=(
        Panel(
            title="Targets",
            title_ja="ターゲット",
            type=PanelType.STATE_TIMELINE,
            queries=(Query(expr="up", legend="{{job}} {{instance}}"),),
            unit=Unit.NONE,
            thresholds=(Threshold(value=1, level=Level.OK),),
            base_level=Level.CRITICAL,
        ),
        Panel(
            title="Duration of collections",
            title_ja="収集にかかった時間",
            queries=(Query(expr="topk(10, scrape_duration_seconds)", legend="{{job}} {{instance}}"),),
            unit=Unit.SECONDS,
            min=0,
        ),
        Panel(
            title="Memory of toban",
            title_ja="toban のメモリ",
            queries=(Query(expr='process_resident_memory_bytes{job="toban"}', legend="{{instance}}"),),
            unit=Unit.BYTES,
            min=0,
        ),
        Panel(
            title="CPU of toban",
            title_ja="toban の CPU",
            queries=(
                Query(expr='rate(process_cpu_seconds_total{job="toban"}[$__rate_interval])', legend="{{instance}}"),
            ),
            unit=Unit.SHARE,
            min=0,
        ),
    ),
    rows=(
        Row(
            title="Alerting and notification",
            title_ja="アラートと通知",
            panels=(
                Panel(
                    title="Alerts",
                    title_ja="アラート",
                    queries=(Query(expr="sum by (alertstate) (ALERTS)", legend="{{alertstate}}"),),
                ),
                Panel(
                    title="Duration of evaluations",
                    title_ja="評価にかかった時間",
                    queries=(Query(expr="toban_rule_group_duration_seconds", legend="{{group}}"),),
                    unit=Unit.SECONDS,
                    min=0,
                ),
                Panel(
                    title="Notifications",
                    title_ja="通知",
                    queries=(
                        Query(
                            expr="sum by (channel, outcome) (increase(toban_notifications_total[$__rate_interval]))",
                            legend="{{channel}} {{outcome}}",
                        ),
                    ),
                ),
                Panel(
                    title="Messages in queues",
                    title_ja="送信待ちのメッセージ",
                    queries=(Query(expr="toban_outbox_messages", legend="{{channel}}"),),
                    thresholds=(Threshold(value=10, level=Level.WARNING),),
                ),
            ),
        ),
        Row(
            title="Storage and ingest",
            title_ja="保存と受信",
            panels=(
                Panel(
                    title="Series",
                    title_ja="系列",
                    queries=(
                        Query(expr="toban_tsdb_series", legend="stored", legend_ja="保存"),
                        Query(expr="toban_tsdb_head_series", legend="in the head", legend_ja="ヘッド"),
                    ),
                    width=8,
                ),
                Panel(
                    title="Disk",
                    title_ja="ディスク",
                    queries=(Query(expr="toban_tsdb_disk_bytes", legend="{{instance}}"),),
                    unit=Unit.BYTES,
                    width=8,
                ),
                Panel(
                    title="Samples",
                    title_ja="サンプル",
                    queries=(
                        Query(
                            expr="rate(toban_tsdb_samples_appended_total[$__rate_interval])",
                            legend="appended",
                            legend_ja="追加",
                        ),
                    ),
                    unit=Unit.PER_SECOND,
                    width=8,
                ),
                Panel(
                    title="Received telemetry",
                    title_ja="受信したテレメトリ",
                    queries=(
                        Query(
                            expr="sum by (signal) (rate(toban_ingest_items_total[$__rate_interval]))",
                            legend="{{signal}}",
                        ),
                    ),
                    unit=Unit.PER_SECOND,
                ),
                Panel(
                    title="Failures",
                    title_ja="失敗",
                    queries=(
                        Query(
                            expr="sum by (package, name) (increase(toban_plugin_failures_total[$__rate_interval]))",
                            legend="{{package}} {{name}}",
                        ),
                        Query(
                            expr="sum by (reason) (increase(toban_ingest_rejected_total[$__rate_interval]))",
                            legend="rejected: {{reason}}",
                            legend_ja="拒否: {{reason}}",
                        ),
                    ),
                ),
            ),
        ),
    ),
)
