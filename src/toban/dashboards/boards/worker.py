"""Job queues and scheduled tasks."""

from toban.core.number_format import Unit
from toban.dashboards.board import Board, Level, Panel, PanelType, Query, Row, Threshold, Variable

QUEUE = 'queue=~"$queue"'

BOARD = Board(
    name="worker",
    title="Worker",
    title_ja="ワーカー",
    description="Job queues and scheduled tasks.",
    description_ja="ジョブキューと定期タスク。",
    variables=(Variable(name="queue", title="Queue", title_ja="キュー", metric="vendure_jobs_waiting", label="queue"),),
    panels=(
        Panel(
            title="Waiting jobs",
            title_ja="待機中のジョブ",
            queries=(Query(expr=f"vendure_jobs_waiting{{{QUEUE}}}", legend="{{queue}}"),),
        ),
        Panel(
            title="Age of the oldest waiting job",
            title_ja="最も古い待機ジョブの経過時間",
            queries=(Query(expr=f"vendure_jobs_oldest_waiting_seconds{{{QUEUE}}}", legend="{{queue}}"),),
            unit=Unit.SECONDS,
            min=0,
            thresholds=(Threshold(value=300, level=Level.WARNING),),
        ),
        Panel(
            title="Completed jobs",
            title_ja="完了したジョブ",
            queries=(
                Query(
                    expr=f"sum by (queue) (rate(vendure_jobs_completed_total{{{QUEUE}}}[$__rate_interval]))",
                    legend="{{queue}}",
                ),
            ),
            unit=Unit.PER_SECOND,
        ),
        Panel(
            title="Failed and retried jobs",
            title_ja="失敗と再試行",
            queries=(
                Query(
                    expr=f"sum by (queue) (increase(vendure_jobs_failed_total{{{QUEUE}}}[$__rate_interval]))",
                    legend="{{queue}} failed",
                    legend_ja="{{queue}} 失敗",
                ),
                Query(
                    expr=f"sum by (queue) (increase(vendure_jobs_retried_total{{{QUEUE}}}[$__rate_interval]))",
                    legend="{{queue}} retried",
                    legend_ja="{{queue}} 再試行",
                ),
            ),
        ),
        Panel(
            title="Longest running job",
            title_ja="最も長く実行中のジョブ",
            queries=(Query(expr=f"vendure_jobs_longest_running_seconds{{{QUEUE}}}", legend="{{queue}}"),),
            unit=Unit.SECONDS,
            min=0,
        ),
        Panel(
            title="Running and retrying jobs",
            title_ja="実行中と再試行待ち",
            queries=(
                Query(
                    expr=f"vendure_jobs_running{{{QUEUE}}}", legend="{{queue}} running", legend_ja="{{queue}} 実行中"
                ),
                Query(
                    expr=f"vendure_jobs_retrying{{{QUEUE}}}",
                    legend="{{queue}} retrying",
                    legend_ja="{{queue}} 再試行待ち",
                ),
            ),
        ),
    ),
    rows=(
        Row(
            title="Scheduled tasks",
            title_ja="定期タスク",
            panels=(
                Panel(
                    title="Time since the last run",
                    title_ja="最後の実行からの経過時間",
                    type=PanelType.BAR_GAUGE,
                    queries=(Query(expr="vendure_scheduled_task_last_executed_age_seconds", legend="{{task}}"),),
                    unit=Unit.SECONDS,
                ),
                Panel(
                    title="Last run failed",
                    title_ja="最後の実行の失敗",
                    type=PanelType.STATE_TIMELINE,
                    queries=(Query(expr="vendure_scheduled_task_failed", legend="{{task}}"),),
                    unit=Unit.NONE,
                    thresholds=(Threshold(value=1, level=Level.CRITICAL),),
                ),
            ),
        ),
    ),
)
