"""Every path of the mall."""

from django.contrib import admin
from django.urls import path
from django.views.i18n import set_language

from mall.views import entry, own, receivers, shop, wire

handler404 = "mall.views.problems.not_found"
handler500 = "mall.views.problems.server_error"
LOGIN, ALIPAY = "api/v1/login", "api/v1/alipay"
urlpatterns = [
    path("", shop.front, name="front"),
    path("goods/<path:goods_id>", shop.goods_page, name="goods"),
    path("checkout", shop.checkout, name="checkout"),
    path("orders", own.orders, name="orders"),
    path("orders/<number>", own.order, name="order"),
    path("orders/<number>/state", own.state, name="order_state"),
    path("orders/<number>/back", own.give_back, name="give_back"),
    path("messages", own.messages, name="messages"),
    path("paid", own.paid, name="paid"),
    path("paid/state", own.paid_state, name="paid_state"),
    path("login", entry.login_page, name="login"),
    path("login/check", entry.login_check, name="login_check"),
    path("login/again", entry.login_again, name="login_again"),
    path("logout", entry.logout, name="logout"),
    path("phone", entry.phone, name="phone"),
    path("go/offers", shop.go_offers, name="go_offers"),
    path("go/offer/<path:goods_id>", shop.go_offer, name="go_offer"),
    path("go/order/<number>", own.go_order, name="go_order"),
    path("language/", set_language, name="set_language"),
    path("admin/", admin.site.urls),
    path(f"{LOGIN}/weixin_qrcode_ticket", wire.qrcode_ticket),
    path(f"{LOGIN}/weixin_qrcode_ticket_scene", wire.qrcode_ticket),
    path(f"{LOGIN}/check_login", wire.check_login),
    path(f"{LOGIN}/check_login_scene", wire.check_login),
    path("api/v1/weixin/portal/receive", receivers.weixin_portal),
    path(f"{ALIPAY}/create_pay_order", wire.create_pay_order),
    path(f"{ALIPAY}/query_user_order_list", wire.order_list),
    path(f"{ALIPAY}/refund_order", wire.refund_order),
    path(f"{ALIPAY}/active_pay_notify", wire.active_pay_notify),
    path(f"{ALIPAY}/alipay_notify_url", receivers.alipay_notify),
    path(f"{ALIPAY}/group_buy_notify", receivers.team_success),
    path(f"{ALIPAY}/group_buy_refund_notify", receivers.team_refund),
]
