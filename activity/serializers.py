"""The wire shape of a trial's answer. Source: docs/contract.md, sections 2.1 and 2.6."""

from drf_spectacular.utils import extend_schema_serializer
from rest_framework import serializers

from groupbuy.fields import AnswerSerializer, MoneyOut


class GoodsResponse(AnswerSerializer):
    goodsId = serializers.CharField(source="offer.goods_id")
    goodsName = serializers.CharField(source="offer.goods_name")
    originalPrice = MoneyOut(source="price.original")
    deductionPrice = MoneyOut(source="price.deduction")
    payPrice = MoneyOut(source="price.pay")


class RefusalResponse(AnswerSerializer):
    code = serializers.CharField()
    info = serializers.CharField(source="message")


class TrialResponse(AnswerSerializer):
    """activityId and goods are null when there is no offer or no price."""

    activityId = serializers.IntegerField(source="activity_id", allow_null=True)
    goods = GoodsResponse(source="priced", allow_null=True)
    visible = serializers.BooleanField()
    enable = serializers.BooleanField(source="joinable")
    refusals = RefusalResponse(many=True)


class StepResponse(serializers.Serializer):
    rule = serializers.CharField()
    saw = serializers.CharField()
    refused = serializers.BooleanField()
    advice = serializers.CharField(help_text="what would change the verdict; empty if passed")


@extend_schema_serializer(component_name="TrialResponse")
class ExplainedTrialResponse(TrialResponse):
    """activityId and goods are null when there is no offer or no price.

    explanation is in answers to an operator's key that asked for it.
    """

    explanation = StepResponse(many=True, required=False)
