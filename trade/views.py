"""The endpoints of docs/contract.md, sections 2.1 to 2.4 and 2.6."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import viewsets
from rest_framework.exceptions import APIException
from rest_framework.request import Request
from rest_framework.response import Response

from activity.explain import explain
from activity.serializers import ExplainedTrialResponse, StepResponse, TrialResponse
from activity.trial import run_trial
from groupbuy import rows
from groupbuy.api import answer, enveloped
from groupbuy.auth import IsOwnChannel, IsOwnChannelOrOperator, calling_channel, is_operator
from groupbuy.bodies import BodyError
from groupbuy.throttling import IndexThrottle, TradeThrottle
from trade.confirm import confirm_refund
from trade.event_serializers import EventsRequest, EventsResponse
from trade.lock import lock_order
from trade.market import read_market
from trade.notify.events import read_events
from trade.progress import order_state, team_progress
from trade.refund import refund_order
from trade.serializers import (
    AcceptedLockRequest,
    ConfirmRequest,
    ConfirmResponse,
    ExplainRequest,
    LockRequest,
    LockResponse,
    MarketRequest,
    MarketResponse,
    OrderResponse,
    RefundRequest,
    RefundResponse,
    SettleRequest,
    SettleResponse,
    TeamResponse,
    TrialRequest,
)
from trade.settle import settle_order

market_request, market_response = MarketRequest(), MarketResponse()
trial_request, trial_response = TrialRequest(), TrialResponse()
explain_request = ExplainRequest()
lock_request, lock_response = AcceptedLockRequest(), LockResponse()
settle_request, settle_response = SettleRequest(), SettleResponse()
refund_request, refund_response = RefundRequest(), RefundResponse()
confirm_request, confirm_response = ConfirmRequest(), ConfirmResponse()
events_request = EventsRequest()

CHANNEL = [
    OpenApiParameter("source", description="Only for a channel open without a key."),
    OpenApiParameter("channel", description="Only for a channel open without a key."),
]


class IndexViewSet(viewsets.ViewSet):
    """Calls of browsers; public."""

    authentication_classes = ()
    permission_classes = ()
    throttle_classes = (IndexThrottle,)

    @extend_schema(
        operation_id="queryMarket",
        tags=["shoppers"],
        summary="Index query: price, open teams, statistics",
        request=MarketRequest,
        auth=[{}, {"ApiKey": []}],  # type: ignore[list-item]
        responses=enveloped("MarketAnswer", MarketResponse(allow_null=True), keyed=False),
    )
    def query(self, request: Request) -> Response:
        query = market_request.to_query(request.data)
        market = rows.retry(lambda: read_market(query, now=timezone.now()))
        return answer(market_response.to_representation(market))


class TradeViewSet(viewsets.ViewSet):
    """Calls of mall back ends, with their channel's API key."""

    def get_permissions(self) -> list[Any]:
        """An operator key may run a trial and nothing else."""
        own = IsOwnChannelOrOperator if self.action == "trial" else IsOwnChannel
        return [own()]

    def check_permissions(self, request: Request) -> None:
        """Count a request that is refused here, as its body cannot be read, for its channel too."""
        try:
            super().check_permissions(request)
        except (APIException, BodyError):
            throttle = TradeThrottle(by_user=False)
            if request.user and not throttle.allow_request(request, self):
                self.throttled(request, throttle.wait())
            raise

    def get_throttles(self) -> list[Any]:
        return [TradeThrottle(by_user=self.action in ("trial", "lock"))]

    @extend_schema(
        operation_id="runTrial",
        tags=["trade"],
        summary="Trial (试算): price, crowd and every refusal; explained to an operator's key",
        request=ExplainRequest,
        responses=enveloped("TrialAnswer", ExplainedTrialResponse(allow_null=True)),
    )
    def trial(self, request: Request) -> Response:
        if is_operator(request):
            return self._explained_trial(request)
        query = trial_request.to_query(request.data)
        trial = run_trial(query, now=timezone.now())
        return answer(trial_response.to_representation(trial), trial.first_refusal)

    def _explained_trial(self, request: Request) -> Response:
        query, wanted, at = explain_request.to_question(request.data)
        trial, steps = explain(query, now=at or timezone.now())
        explanation = {"explanation": StepResponse(steps, many=True).data} if wanted else {}
        data = trial_response.to_representation(trial) | explanation
        return answer(data, trial.first_refusal)

    @extend_schema(
        operation_id="lockOrder",
        tags=["trade"],
        summary="Lock (锁单): open a team or take a seat in one",
        request=LockRequest,
        responses=enveloped("LockAnswer", LockResponse(allow_null=True)),
    )
    def lock(self, request: Request) -> Response:
        command = lock_request.to_command(request.data, calling_channel(request))
        order = lock_order(command, now=timezone.now())
        return answer(lock_response.to_representation(order))

    @extend_schema(
        operation_id="settleOrder",
        tags=["trade"],
        summary="Settlement (结算): the shopper has paid",
        request=SettleRequest,
        responses=enveloped("SettleAnswer", SettleResponse(allow_null=True)),
    )
    def settle(self, request: Request) -> Response:
        command = settle_request.to_command(request.data, calling_channel(request))
        order = settle_order(command, now=timezone.now())
        return answer(settle_response.to_representation(order))

    @extend_schema(
        operation_id="refundOrder",
        tags=["trade"],
        summary="Refund (退单): the shopper gives the order back",
        request=RefundRequest,
        responses=enveloped("RefundAnswer", RefundResponse(allow_null=True)),
    )
    def refund(self, request: Request) -> Response:
        command = refund_request.to_command(request.data, calling_channel(request))
        refund = refund_order(command, now=timezone.now())
        return answer(refund_response.to_representation(refund))

    @extend_schema(
        operation_id="confirmRefund",
        tags=["trade"],
        summary="Confirmation (退款到账): report that the money of an order is back",
        request=ConfirmRequest,
        responses=enveloped("ConfirmAnswer", ConfirmResponse(allow_null=True)),
    )
    def confirm(self, request: Request) -> Response:
        command = confirm_request.to_command(request.data, calling_channel(request))
        order = confirm_refund(command, now=timezone.now())
        return answer(confirm_response.to_representation(order))

    @extend_schema(
        operation_id="getTeam",
        tags=["trade"],
        summary="Progress of one team",
        parameters=[OpenApiParameter("team_id", location="path"), *CHANNEL],
        responses=enveloped("TeamAnswer", TeamResponse(allow_null=True)),
    )
    def team(self, request: Request, team_id: str) -> Response:
        channel_id = calling_channel(request).pk
        progress = rows.retry(
            lambda: team_progress(channel_id=channel_id, team_id=team_id, now=timezone.now())
        )
        return answer(TeamResponse(progress).data)

    @extend_schema(
        operation_id="getOrder",
        tags=["trade"],
        summary="State and timeline of one order",
        parameters=[OpenApiParameter("out_trade_no", location="path"), *CHANNEL],
        responses=enveloped("OrderAnswer", OrderResponse(allow_null=True)),
    )
    def order(self, request: Request, out_trade_no: str) -> Response:
        channel_id = calling_channel(request).pk
        state = rows.retry(lambda: order_state(channel_id=channel_id, out_trade_no=out_trade_no))
        return answer(OrderResponse(state).data)

    @extend_schema(
        operation_id="listEvents",
        tags=["trade"],
        summary="Events: the notifications, for polling",
        parameters=[EventsRequest, *CHANNEL],
        responses=enveloped("EventsAnswer", EventsResponse(allow_null=True)),
    )
    def events(self, request: Request) -> Response:
        after = events_request.to_cursor(request.query_params)
        channel_id = calling_channel(request).pk
        events = rows.retry(lambda: read_events(channel_id=channel_id, after=after))
        return answer(EventsResponse(events).data)


@csrf_exempt
def accept_callback(request: HttpRequest) -> HttpResponse:
    """A dummy callback target; exists only while DEBUG is on."""
    return HttpResponse("success")
