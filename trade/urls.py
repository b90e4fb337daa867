"""The paths of trade, each with and without a trailing slash."""

from django.urls import re_path

from trade.views import IndexViewSet, TradeViewSet

API = "api/v1/gbm"

urlpatterns = [
    re_path(
        rf"^{API}/index/query_group_buy_market_config/?$", IndexViewSet.as_view({"post": "query"})
    ),
    re_path(rf"^{API}/trade/trial/?$", TradeViewSet.as_view({"post": "trial"})),
    re_path(rf"^{API}/trade/lock_market_pay_order/?$", TradeViewSet.as_view({"post": "lock"})),
    re_path(
        rf"^{API}/trade/settlement_market_pay_order/?$", TradeViewSet.as_view({"post": "settle"})
    ),
    re_path(rf"^{API}/trade/refund_market_pay_order/?$", TradeViewSet.as_view({"post": "refund"})),
    re_path(rf"^{API}/trade/confirm_refund/?$", TradeViewSet.as_view({"post": "confirm"})),
    re_path(rf"^{API}/events/?$", TradeViewSet.as_view({"get": "events"})),
    re_path(rf"^{API}/trade/teams/(?P<team_id>[^/]+)/?$", TradeViewSet.as_view({"get": "team"})),
    re_path(
        rf"^{API}/trade/orders/(?P<out_trade_no>[\s\S]+?)/?$",
        TradeViewSet.as_view({"get": "order"}),
    ),
]
