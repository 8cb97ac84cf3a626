"""PostgreSQL: connections, locks, throughput, statements, tables."""

from toban.core.number_format import Unit
from toban.dashboards.board import Board, Level, Panel, PanelType, Query, Row, Threshold

BOARD = Board(
    name="postgres",
    title="PostgreSQL",
    description="Connections, locks, throughput, statements and tables of the shop's database.",
    description_ja="ショップのデータベースの接続、ロック、処理量、ステートメント、テーブル。",
    panels=(
        Panel(
            title="Connections in use",
            title_ja="接続の使用率",
            type=PanelType.GAUGE,
            queries=(Query(expr="max(postgres_connections_used / postgres_connections_limit)"),),
            unit=Unit.SHARE,
            min=0,
            max=1,
            thresholds=(Threshold(value=0.8, level=Level.WARNING), Threshold(value=0.97, level=Level.CRITICAL)),
            width=6,
            height=7,
        ),
        Panel(
            title="Blocked sessions",
            title_ja="ロック待ちのセッション",
            type=PanelType.STAT,
            queries=(Query(expr="postgres_blocked_sessions"),),
            thresholds=(Threshold(value=1, level=Level.WARNING), Threshold(value=10, level=Level.CRITICAL)),
            width=6,
            height=7,
        ),
        Panel(
            title="Cache hit ratio",
            title_ja="キャッシュヒット率",
            type=PanelType.STAT,
            queries=(Query(expr="postgres_database_cache_hit_ratio"),),
            unit=Unit.SHARE,
            width=6,
            height=7,
        ),
        Panel(
            title="Size of the database",
            title_ja="データベースの大きさ",
            type=PanelType.STAT,
            queries=(Query(expr="postgres_database_size_bytes"),),
            unit=Unit.BYTES,
            width=6,
            height=7,
        ),
        Panel(
            title="Sessions by state",
            title_ja="状態別のセッション",
            queries=(Query(expr="sum by (state) (postgres_connections)", legend="{{state}}"),),
        ),
        Panel(
            title="Transactions",
            title_ja="トランザクション",
            queries=(
                Query(
                    expr="rate(postgres_database_transactions_committed_total[$__rate_interval])",
                    legend="committed",
                    legend_ja="コミット",
                ),
                Query(
                    expr="rate(postgres_database_transactions_rolled_back_total[$__rate_interval])",
                    legend="rolled back",
                    legend_ja="ロールバック",
                ),
            ),
            unit=Unit.PER_SECOND,
        ),
        Panel(
            title="Longest",
            title_ja="最も長いもの",
            queries=(
                Query(expr="postgres_longest_transaction_seconds", legend="transaction", legend_ja="トランザクション"),
                Query(expr="postgres_longest_statement_seconds", legend="statement", legend_ja="ステートメント"),
                Query(expr="postgres_longest_lock_wait_seconds", legend="lock wait", legend_ja="ロック待ち"),
                Query(
                    expr="postgres_longest_idle_in_transaction_seconds",
                    legend="idle in transaction",
                    legend_ja="トランザクション中の待機",
                ),
            ),
            unit=Unit.SECONDS,
            min=0,
        ),
        Panel(
            title="Deadlocks",
            title_ja="デッドロック",
            queries=(
                Query(expr="increase(postgres_database_deadlocks_total[$__rate_interval])", legend="{{instance}}"),
            ),
        ),
    ),
    rows=(
        Row(
            title="Statements",
            title_ja="ステートメント",
            panels=(
                Panel(
                    title="Duration as the shop measures it (p95)",
                    title_ja="ショップから見た時間 (p95)",
                    queries=(
                        Query(
                            expr="histogram_quantile(0.95, sum by (le, operation)"
                            " (rate(postgres_query_duration_seconds_bucket[$__rate_interval])))",
                            legend="{{operation}}",
                        ),
                    ),
                    unit=Unit.SECONDS,
                ),
                Panel(
                    title="Statements with the most time",
                    title_ja="合計時間の長いステートメント",
                    type=PanelType.BAR_GAUGE,
                    queries=(
                        Query(
                            expr="topk(10, sum by (queryid)"
                            " (rate(postgres_statement_seconds_total[$__rate_interval])))",
                            legend="{{queryid}}",
                        ),
                    ),
                    unit=Unit.SHARE,
                ),
            ),
        ),
        Row(
            title="Tables and maintenance",
            title_ja="テーブルとメンテナンス",
            panels=(
                Panel(
                    title="Largest tables",
                    title_ja="大きなテーブル",
                    type=PanelType.BAR_GAUGE,
                    queries=(Query(expr="topk(10, postgres_table_size_bytes)", legend="{{schema}}.{{table}}"),),
                    unit=Unit.BYTES,
                ),
                Panel(
                    title="Dead rows",
                    title_ja="不要な行",
                    queries=(Query(expr="topk(10, postgres_table_dead_rows)", legend="{{schema}}.{{table}}"),),
                ),
                Panel(
                    title="Replication lag",
                    title_ja="レプリケーションの遅れ",
                    queries=(Query(expr="postgres_replication_replay_lag_seconds", legend="{{application}}"),),
                    unit=Unit.SECONDS,
                ),
                Panel(
                    title="Way to wraparound",
                    title_ja="ラップアラウンドまでの割合",
                    queries=(
                        Query(
                            expr="postgres_wraparound_transactions / postgres_wraparound_transactions_limit",
                            legend="{{instance}}",
                        ),
                    ),
                    unit=Unit.SHARE,
                    min=0,
                ),
            ),
        ),
    ),
)
