"""What the shop sells, where customers leave, and what payments do."""

from typing import Final

from toban.core.number_format import Unit
from toban.dashboards.board import Board, DrawStyle, Level, Panel, PanelType, Query, Row, Threshold, Variable

ORDERS: Final = 'vendure_orders_created_total{channel=~"$channel"}'
REVENUE: Final = 'vendure_revenue_total{channel=~"$channel"}'


def last_hour(metric: str, by: str = "") -> str:
    """
    Return how much an exact counter rose in an hour.

    ``increase`` would stretch what it finds in the range: 91.3 orders.
    """
    grouped = f"sum by ({by})" if by else "sum"
    return f"{grouped} ({metric}) - ({grouped} ({metric} offset 1h) or 0 * {grouped} ({metric}))"


BOARD = Board(
    name="commerce",
    title="Commerce",
    title_ja="販売",
    description="Orders, revenue, payments, carts and stock, counted exactly from the shop's tables.",
    description_ja="注文、売上、支払い、カート、在庫。ショップのテーブルから正確に数えます。",
    variables=(
        Variable(
            name="channel", title="Channel", title_ja="チャネル", metric="vendure_orders_created_total", label="channel"
        ),
    ),
    panels=(
        Panel(
            title="Orders in the last hour",
            title_ja="直近1時間の注文",
            type=PanelType.STAT,
            queries=(Query(expr=last_hour(ORDERS)),),
            width=6,
            height=5,
        ),
        Panel(
            title="Revenue in the last hour",
            title_ja="直近1時間の売上",
            type=PanelType.STAT,
            queries=(
                Query(
                    expr=last_hour(REVENUE, "currency"),
                    legend="{{currency}}",
                ),
            ),
            width=6,
            height=5,
        ),
        Panel(
            title="Time since the newest order",
            title_ja="最後の注文からの経過時間",
            type=PanelType.STAT,
            queries=(Query(expr="vendure_newest_order_age_seconds"),),
            unit=Unit.SECONDS,
            width=6,
            height=5,
        ),
        Panel(
            title="Paid orders that are stuck",
            title_ja="支払い済みで止まっている注文",
            type=PanelType.STAT,
            queries=(Query(expr="vendure_orders_stuck"),),
            thresholds=(Threshold(value=1, level=Level.CRITICAL),),
            colored_background=True,
            width=6,
            height=5,
        ),
        Panel(
            title="Orders by hour",
            title_ja="1時間ごとの注文",
            queries=(
                Query(
                    expr=last_hour(ORDERS, "customerType"),
                    legend="{{customerType}}",
                ),
            ),
            style=DrawStyle.STACKED,
        ),
        Panel(
            title="Revenue by hour",
            title_ja="1時間ごとの売上",
            queries=(
                Query(
                    expr=last_hour(REVENUE, "channel, currency"),
                    legend="{{channel}} {{currency}}",
                ),
            ),
        ),
        Panel(
            title="Order totals",
            title_ja="注文金額の分布",
            description="How many orders had which total.",
            description_ja="金額ごとの注文数です。",
            type=PanelType.HEATMAP,
            queries=(Query(expr="sum by (le) (increase(vendure_order_total_amount_bucket[1h]))", legend="{{le}}"),),
            width=12,
        ),
        Panel(
            title="Customers' activity",
            title_ja="顧客の操作",
            queries=(
                Query(
                    expr="sum by (action) (rate(vendure_customer_activity_total[$__rate_interval]))",
                    legend="{{action}}",
                ),
            ),
            unit=Unit.PER_SECOND,
        ),
    ),
    rows=(
        Row(
            title="Payments",
            title_ja="支払い",
            panels=(
                Panel(
                    title="Failed payments by reason",
                    title_ja="理由別の支払い失敗",
                    queries=(
                        Query(
                            expr=last_hour("vendure_payments_failed_total", "method, error"),
                            legend="{{method}}: {{error}}",
                        ),
                    ),
                    style=DrawStyle.STACKED,
                ),
                Panel(
                    title="Failed among the newest ten attempts",
                    title_ja="直近10回のうち失敗した支払い",
                    queries=(Query(expr="vendure_payments_newest_failed", legend="{{method}}"),),
                    min=0,
                    max=10,
                    thresholds=(Threshold(value=4, level=Level.WARNING), Threshold(value=8, level=Level.CRITICAL)),
                ),
                Panel(
                    title="Orders lost to a failed payment",
                    title_ja="支払い失敗で失われた注文",
                    queries=(Query(expr=last_hour("vendure_orders_failed_total", "method"), legend="{{method}}"),),
                ),
                Panel(
                    title="Refunds",
                    title_ja="返金",
                    type=PanelType.BAR_GAUGE,
                    queries=(Query(expr="vendure_refunds", legend="{{state}}"),),
                ),
            ),
        ),
        Row(
            title="Carts and stock",
            title_ja="カートと在庫",
            panels=(
                Panel(
                    title="Carts",
                    title_ja="カート",
                    queries=(
                        Query(expr="vendure_carts", legend="{{currency}}"),
                        Query(
                            expr="vendure_carts_abandoned",
                            legend="{{currency}}, abandoned",
                            legend_ja="{{currency}} 放棄",
                        ),
                    ),
                    width=8,
                ),
                Panel(
                    title="Variants without stock",
                    title_ja="在庫のない商品",
                    queries=(
                        Query(expr="vendure_stock_out", legend="out of stock", legend_ja="在庫なし"),
                        Query(expr="vendure_stock_low", legend="five or fewer", legend_ja="5 個以下"),
                        Query(expr="vendure_stock_negative", legend="oversold", legend_ja="在庫マイナス"),
                    ),
                    width=8,
                ),
                Panel(
                    title="Lowest stock",
                    title_ja="在庫の少ない商品",
                    type=PanelType.TABLE,
                    queries=(Query(expr="sort(vendure_stock_lowest)", legend="{{sku}} {{variant}}"),),
                    width=8,
                ),
                Panel(
                    title="Campaigns",
                    title_ja="キャンペーン",
                    queries=(
                        Query(
                            expr=last_hour("vendure_campaign_usage_total", "campaignId"),
                            legend="{{campaignId}}",
                        ),
                    ),
                ),
                Panel(
                    title="Most viewed products",
                    title_ja="よく見られている商品",
                    type=PanelType.BAR_GAUGE,
                    queries=(
                        Query(
                            expr="topk(10, sum by (productId) (increase(vendure_product_views_total[1h])))",
                            legend="{{productId}}",
                        ),
                    ),
                ),
            ),
        ),
    ),
)
