"""Paths below /api/v1/gbm/, each with and without a trailing slash."""

from django.urls import re_path

from trade.views import IndexViewSet, TradeViewSet

urlpatterns = [
    re_path(r"^index/query_group_buy_market_config/?$", IndexViewSet.as_view({"post": "query"})),
    re_path(r"^trade/trial/?$", TradeViewSet.as_view({"post": "trial"})),
    re_path(r"^trade/lock_market_pay_order/?$", TradeViewSet.as_view({"post": "lock"})),
    re_path(r"^trade/settlement_market_pay_order/?$", TradeViewSet.as_view({"post": "settle"})),
    re_path(r"^trade/refund_market_pay_order/?$", TradeViewSet.as_view({"post": "refund"})),
    re_path(r"^events/?$", TradeViewSet.as_view({"get": "events"})),
    re_path(r"^trade/teams/(?P<team_id>[^/]+)/?$", TradeViewSet.as_view({"get": "team"})),
    re_path(r"^trade/orders/(?P<out_trade_no>[\s\S]+?)/?$", TradeViewSet.as_view({"get": "order"})),
]
