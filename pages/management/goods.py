"""The demo's goods, activities and teams, and the crowd to which some activities are limited."""

from typing import NamedTuple

from activity.discounts import Plan
from activity.models import Activity

CROWD = "RQ_KJHKL98UU78H66554GFDV"
MEMBERS = ["xiaofuge", "liergou", *(f"xfg{n:02}" for n in range(1, 10))]
FILL, SHOP = Activity.GroupType.MUST_FILL, Activity.GroupType.SHOP_COMPLETES


class Demo(NamedTuple):
    """One activity of the demo with its goods."""

    activity_id: int
    goods_id: str
    goods: str
    price: str
    plan: Plan
    expression: str
    target: int
    minutes: int
    limit: int = 1
    group_type: int = FILL
    see_only: bool = False
    join_only: bool = False
    discount_crowd: bool = False


DEMOS = [
    Demo(100123, "9890001", "《手写MyBatis：渐进式源码实践》", "100.00", Plan.MINUS, "20", 3, 15),
    Demo(100124, "9890002", "云南小粒咖啡豆 454g", "59.90", Plan.RATE, "0.8", 2, 60 * 24, 3),
    Demo(100125, "9890003", "手冲陶瓷滤杯套装", "128.00", Plan.THRESHOLD, "100,10", 3, 60 * 24),
    Demo(100126, "9890004", "赣南脐橙 5 斤装", "39.90", Plan.FIXED, "1.99", 5, 120),
    Demo(100127, "9890005", "羽绒枕", "159.00", Plan.MINUS, "40", 3, 60 * 24, 2, SHOP),
    Demo(100128, "9890006", "87 键机械键盘", "399.00", Plan.RATE, "0.75", 4, 60 * 48, 1, FILL,
         join_only=True),
    Demo(100129, "9890007", "便携蓝牙音箱", "229.00", Plan.THRESHOLD, "200,50", 2, 60 * 12),
    Demo(100130, "9890008", "不锈钢保温杯 500ml", "89.00", Plan.FIXED, "59.90", 3, 60 * 24, 5),
    Demo(100131, "9890009", "亲子绘本套装（10 册）", "168.00", Plan.RATE, "0.6", 10, 60 * 72, 1,
         SHOP),
    Demo(100132, "9890010", "瑜伽垫", "79.00", Plan.MINUS, "15", 2, 60 * 24, 1, FILL,
         see_only=True, join_only=True),
    Demo(100133, "9890011", "多肉植物组合", "29.90", Plan.FIXED, "9.90", 3, 60, 2),
    Demo(100134, "9890012", "帆布双肩包", "149.00", Plan.MINUS, "50", 3, 60 * 24, 1, FILL,
         discount_crowd=True),
    Demo(100135, "9890013", "五常大米 5kg", "69.90", Plan.THRESHOLD, "50,12", 4, 60 * 24, 3, SHOP),
]  # fmt: skip

# Activity, members, how many of them have paid.
TEAMS = [
    (100124, ["xfg02"], 1),
    (100125, ["xfg03", "xfg04"], 1),
    (100127, ["xfg05"], 1),
    (100130, ["xfg06", "xfg07"], 2),
    (100131, ["xfg01", "xfg03", "xfg05", "xfg07", "xfg08"], 4),
    (100135, ["xfg08", "xfg09", "xfg02"], 2),
]

# The second mall sells subscriptions, on a channel of its own.
SUBSCRIPTIONS = [
    Demo(100201, "9890101", "影音会员 · 一年", "198.00", Plan.FIXED, "128.00", 2, 60 * 24),
    Demo(100202, "9890102", "笔记专业版 · 一年", "88.00", Plan.RATE, "0.5", 3, 60 * 24),
]
