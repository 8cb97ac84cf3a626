"""Service levels: error budgets, and how fast they are spent."""

from toban.core.number_format import Unit
from toban.dashboards.board import Board, InitialRange, Level, Panel, PanelType, Query, Threshold, Variable

LEVEL = 'sloth_slo=~"$level"'

BOARD = Board(
    name="slo",
    title="Service levels",
    title_ja="サービスレベル",
    description="Error budgets, and how fast they are spent.",
    description_ja="エラーバジェットの残りと消費の速さ。",
    time=InitialRange.model_validate({"from": "now-7d", "to": "now"}),
    variables=(
        Variable(
            name="level",
            title="Service level",
            title_ja="サービスレベル",
            metric="slo:objective:ratio",
            label="sloth_slo",
        ),
    ),
    panels=(
        Panel(
            title="Error budget left",
            title_ja="エラーバジェットの残り",
            type=PanelType.STAT,
            queries=(Query(expr=f"slo:period_error_budget_remaining:ratio{{{LEVEL}}}", legend="{{sloth_slo}}"),),
            unit=Unit.SHARE,
            base_level=Level.CRITICAL,
            thresholds=(Threshold(value=0.0001, level=Level.WARNING), Threshold(value=0.5, level=Level.OK)),
        ),
        Panel(
            title="Burn rate now",
            title_ja="現在の消費速度",
            description="1 spends the whole budget in its period.",
            description_ja="1 のとき、期間の終わりにちょうど使い切ります。",
            type=PanelType.STAT,
            queries=(Query(expr=f"slo:current_burn_rate:ratio{{{LEVEL}}}", legend="{{sloth_slo}}"),),
            unit=Unit.NONE,
            thresholds=(Threshold(value=1, level=Level.WARNING), Threshold(value=6, level=Level.CRITICAL)),
        ),
        Panel(
            title="Error budget over time",
            title_ja="エラーバジェットの推移",
            queries=(Query(expr=f"slo:period_error_budget_remaining:ratio{{{LEVEL}}}", legend="{{sloth_slo}}"),),
            unit=Unit.SHARE,
        ),
        Panel(
            title="Share of bad events in an hour",
            title_ja="1 時間の不良の割合",
            queries=(
                Query(expr=f"slo:sli_error:ratio_rate1h{{{LEVEL}}}", legend="{{sloth_slo}}"),
                Query(
                    expr=f"slo:error_budget:ratio{{{LEVEL}}}",
                    legend="{{sloth_slo}} allowed",
                    legend_ja="{{sloth_slo}} 許容",
                ),
            ),
            unit=Unit.SHARE,
            min=0,
        ),
        Panel(
            title="Bad events in an hour",
            title_ja="1 時間の不良の件数",
            queries=(Query(expr=f"slo:sli_bad:increase1h{{{LEVEL}}}", legend="{{sloth_slo}}"),),
            min=0,
        ),
        Panel(
            title="Observed",
            title_ja="観測の有無",
            description="Where nothing is drawn, time was blind: it counts as neither good nor bad.",
            description_ja="何も描かれていない時間は観測がなく、良にも不良にも数えません。",
            type=PanelType.STATE_TIMELINE,
            queries=(Query(expr=f"slo:observed:bool{{{LEVEL}}}", legend="{{sloth_slo}}"),),
            unit=Unit.NONE,
        ),
    ),
)
