"""The wire shapes of trade. Source: docs/contract.md, sections 2.1 to 2.4 and 2.6.

Requests and answers are shared instances, because building a serializer for each request costs
more than the rest of a trial.
"""

from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from drf_spectacular.utils import extend_schema_serializer
from rest_framework import serializers

from activity.serializers import GoodsResponse
from activity.trial import TrialQuery
from groupbuy.channels import KnownChannel
from groupbuy.fields import (
    AnswerSerializer,
    IdNumberField,
    MomentField,
    MomentOut,
    MoneyField,
    MoneyOut,
    TextField,
)
from groupbuy.hosts import validate_http_url
from trade.confirm import ConfirmCommand
from trade.lock import LockCommand
from trade.models import Transport
from trade.refund import Outcome, RefundCommand
from trade.settle import SettleCommand


class ShopperRequest(serializers.Serializer):
    userId = TextField(source="user_id", longest=64)
    source = TextField(longest=32)  # type: ignore[assignment]  # DRF's own attribute
    channel = TextField(longest=32)


class TrialRequest(ShopperRequest):
    goodsId = TextField(source="goods_id", longest=32)
    activityId = IdNumberField(source="activity_id", required=False, allow_null=True)

    def to_query(self, body: Any) -> TrialQuery:
        return TrialQuery(**self.run_validation(body))


@extend_schema_serializer(component_name="TrialRequest")
class ExplainRequest(TrialRequest):
    """explain and at are for an operator's key; with a channel's key they are ignored."""

    explain = serializers.BooleanField(required=False)
    at = MomentField(required=False, allow_null=True)

    def to_question(self, body: Any) -> tuple[TrialQuery, bool, datetime | None]:
        """The query, whether to explain it, and at which moment."""
        asked = dict(self.run_validation(body))
        explain, at = asked.pop("explain", False), asked.pop("at", None)
        return TrialQuery(**asked), explain, at


class MarketRequest(ShopperRequest):
    goodsId = TextField(source="goods_id", longest=32)

    def to_query(self, body: Any) -> TrialQuery:
        return TrialQuery(**self.run_validation(body))


class CommandRequest(ShopperRequest):
    def validated(self, body: Any, channel: KnownChannel) -> dict[str, Any]:
        """The fields; source and channel are the channel that the permission check found."""
        fields = dict(self.run_validation(body))
        del fields["source"]
        return fields | {"channel": channel}


class NotifyConfig(serializers.Serializer):
    """Where a new team's notifications go. notifyUrl is required for HTTP, unused for MQ."""

    notifyType = serializers.ChoiceField(choices=Transport.choices)
    notifyUrl = TextField(longest=512, required=False, allow_null=True, allow_blank=True)


class LockRequest(CommandRequest):
    """teamId null, empty or left out opens a new team.

    An older flat notifyUrl is accepted in place of notifyConfigVO and means HTTP.
    """

    goodsId = TextField(source="goods_id", longest=32)
    activityId = IdNumberField(source="activity_id")
    outTradeNo = TextField(source="out_trade_no", longest=64)
    teamId = TextField(
        source="team_id", longest=19, required=False, allow_null=True, allow_blank=True
    )
    notifyConfigVO = NotifyConfig()

    def to_command(self, body: Any, channel: KnownChannel) -> LockCommand:
        return LockCommand(**self.validated(body, channel))


class AcceptedLockRequest(LockRequest):
    """LockRequest is the documented form; this one also accepts what existing malls send."""

    notifyConfigVO = NotifyConfig(required=False, allow_null=True)
    notifyUrl = TextField(longest=512, required=False, allow_null=True, allow_blank=True)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        config = attrs.pop("notifyConfigVO", None)
        flat_url = attrs.pop("notifyUrl", None)
        if config is None and not flat_url:
            self._refuse("notifyConfigVO", "required")
        path = "notifyConfigVO.notifyUrl" if config else "notifyUrl"
        config = config or {"notifyType": Transport.HTTP, "notifyUrl": flat_url}
        transport, url = config["notifyType"], config.get("notifyUrl") or flat_url or ""
        if transport == Transport.HTTP:
            self._require_url(path, url)
        return attrs | {
            "team_id": attrs.get("team_id") or "",
            "notify_transport": transport,
            "notify_url": url if transport == Transport.HTTP else "",
        }

    def _require_url(self, path: str, url: str) -> None:
        if not url:
            self._refuse(path, "required")
        try:
            validate_http_url(url)
        except ValidationError as exc:
            raise serializers.ValidationError({path: exc.messages}) from exc

    def _refuse(self, path: str, error: str) -> None:
        raise serializers.ValidationError({path: [str(self.error_messages[error])]})


class SettleRequest(CommandRequest):
    outTradeNo = TextField(source="out_trade_no", longest=64)
    outTradeTime = MomentField(source="paid_at")

    def to_command(self, body: Any, channel: KnownChannel) -> SettleCommand:
        return SettleCommand(**self.validated(body, channel))


class LockResponse(AnswerSerializer):
    """Answer of lock. The mall's Java client fails on any further key."""

    orderId = serializers.CharField(source="pk")
    originalPrice = MoneyOut(source="original_price")
    deductionPrice = MoneyOut(source="deduction_price")
    payPrice = MoneyOut(source="pay_price")
    tradeOrderStatus = serializers.IntegerField(source="status")
    teamId = serializers.CharField(source="team_id")


class SettleResponse(AnswerSerializer):
    """Answer of settlement. The mall's Java client fails on any further key."""

    userId = serializers.CharField(source="user_id")
    teamId = serializers.CharField(source="team_id")
    activityId = serializers.IntegerField(source="activity_id")
    outTradeNo = serializers.CharField(source="out_trade_no")


class RefundRequest(CommandRequest):
    outTradeNo = TextField(source="out_trade_no", longest=64)

    def to_command(self, body: Any, channel: KnownChannel) -> RefundCommand:
        return RefundCommand(**self.validated(body, channel))


class RefundResponse(AnswerSerializer):
    """Answer of refund. The mall's Java client fails on any further key."""

    userId = serializers.CharField(source="order.user_id")
    orderId = serializers.CharField(source="order.pk")
    teamId = serializers.CharField(source="order.team_id")
    code = serializers.ChoiceField([outcome.code for outcome in Outcome], source="outcome.code")
    info = serializers.CharField(source="outcome.info")


class ConfirmRequest(CommandRequest):
    """refundTime: when the payment provider returned the money; null or left out: now."""

    outTradeNo = TextField(source="out_trade_no", longest=64)
    refundAmount = MoneyField(source="refund_amount")
    refundTime = MomentField(source="refund_at", required=False, allow_null=True)

    def to_command(self, body: Any, channel: KnownChannel) -> ConfirmCommand:
        return ConfirmCommand(**self.validated(body, channel))


class ConfirmResponse(AnswerSerializer):
    userId = serializers.CharField(source="user_id")
    orderId = serializers.CharField(source="pk")
    teamId = serializers.CharField(source="team_id")
    outTradeNo = serializers.CharField(source="out_trade_no")
    refundAmount = MoneyOut(source="refund_amount")
    refundTime = MomentOut(source="refund_at")


class TeamCardResponse(AnswerSerializer):
    userId = serializers.CharField(source="user_id")
    teamId = serializers.CharField(source="team_id")
    activityId = serializers.IntegerField(source="activity_id")
    targetCount = serializers.IntegerField(source="target_count")
    completeCount = serializers.IntegerField(source="complete_count")
    lockCount = serializers.IntegerField(source="lock_count")
    validStartTime = MomentOut(source="valid_start_time")
    validEndTime = MomentOut(source="valid_end_time")
    validTimeCountdown = serializers.CharField(source="valid_time_countdown")
    outTradeNo = serializers.CharField(source="out_trade_no", allow_null=True)


class StatisticResponse(AnswerSerializer):
    allTeamCount = serializers.IntegerField(source="all_team_count")
    allTeamCompleteCount = serializers.IntegerField(source="all_team_complete_count")
    allTeamUserCount = serializers.IntegerField(source="all_team_user_count")


class MarketResponse(AnswerSerializer):
    """Answer of the index query."""

    activityId = serializers.IntegerField(source="offer.activity.pk")
    goods = GoodsResponse(source="*")
    visible = serializers.BooleanField()
    enable = serializers.BooleanField()
    teamList = TeamCardResponse(source="team_list", many=True)
    teamStatistic = StatisticResponse(source="team_statistic")


class MemberResponse(serializers.Serializer):
    userId = serializers.CharField(source="user_id")
    outTradeNo = serializers.CharField(source="out_trade_no")
    tradeOrderStatus = serializers.IntegerField(source="status")


class TeamResponse(serializers.Serializer):
    """A team's progress, for the mall it belongs to: members are not masked."""

    teamId = serializers.CharField(source="team.pk")
    activityId = serializers.IntegerField(source="team.activity_id")
    goodsId = serializers.CharField(source="team.goods_id")
    status = serializers.IntegerField(source="team.status")
    completedByShop = serializers.BooleanField(source="team.completed_by_shop")
    targetCount = serializers.IntegerField(source="team.target_count")
    lockCount = serializers.IntegerField(source="team.locked_count")
    completeCount = serializers.IntegerField(source="team.paid_count")
    validStartTime = MomentOut(source="team.created_at")
    validEndTime = MomentOut(source="team.expires_at")
    validTimeCountdown = serializers.CharField(source="countdown")
    members = MemberResponse(many=True)


class OrderEventResponse(serializers.Serializer):
    event = serializers.CharField()
    at = MomentOut()


class OrderResponse(serializers.Serializer):
    """One order with what has happened to it, oldest first."""

    outTradeNo = serializers.CharField(source="order.out_trade_no")
    userId = serializers.CharField(source="order.user_id")
    activityId = serializers.IntegerField(source="order.activity_id")
    orderId = serializers.CharField(source="order.pk")
    originalPrice = MoneyOut(source="order.original_price")
    deductionPrice = MoneyOut(source="order.deduction_price")
    payPrice = MoneyOut(source="order.pay_price")
    tradeOrderStatus = serializers.IntegerField(source="order.status")
    closeReason = serializers.CharField(source="order.close_reason")
    payDeadline = MomentOut(source="order.pay_deadline")
    teamId = serializers.CharField(source="order.team_id")
    teamStatus = serializers.IntegerField(source="order.team.status")
    refundAmount = MoneyOut(source="order.refund_amount", allow_null=True)
    refundTime = MomentOut(source="order.refund_at", allow_null=True)
    timeline = OrderEventResponse(many=True)
