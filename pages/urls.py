"""The paths of the pages. Paths that people share are short."""

from django.urls import path, register_converter

from pages import deals, entry, links, start, views

register_converter(links.SegmentConverter, "part")

urlpatterns = [
    path("", start.start, name="start"),
    path("as/<user_id>", start.demo_shopper, name="demo_shopper"),
    path("t/<code>", views.team, name="team"),
    path("t/<code>/join", deals.join, name="join"),
    path("t/<code>/poster", views.poster, name="poster"),
    path("t/<code>/poster-<language>.png", views.poster_picture, name="poster_picture"),
    path("t/<code>/banner-<language>.png", views.team_banner, name="team_banner"),
    path("t/<code>/order", views.order, name="order"),
    path("t/<code>/order/<deed>", deals.deal, name="deal"),
    path("o/<part:source>/<part:channel>", views.wall, name="wall"),
    path("o/<part:source>/<part:channel>/<part:goods_id>", views.offer, name="offer"),
    path("o/<part:source>/<part:channel>/<part:goods_id>/reminder.ics", views.calendar,
         name="calendar"),
    path("o/<part:source>/<part:channel>/<part:goods_id>/banner-<language>.png",
         views.offer_banner, name="offer_banner"),
    path("o/<part:source>/<part:channel>/<part:goods_id>/buy/<deed>", deals.buy, name="buy"),
    path("out/<signed>", deals.outside, name="outside"),
    path("my/<part:source>/<part:channel>", views.my_orders, name="orders"),
    path("my/<part:source>/<part:channel>/order", views.order_by_number, name="order_by_number"),
    path("h/<part:source>/<part:channel>", entry.enter, name="enter"),
    path("h/<part:source>/<part:channel>/leave", entry.leave, name="leave"),
]  # fmt: skip
