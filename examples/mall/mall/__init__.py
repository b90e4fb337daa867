"""The reference mall (商城): sells goods alone and in teams, with the group-buying platform.

models.py     goods, shoppers, orders and what belongs to them
orders.py     the statuses of an order, and every change between them
buying.py     place an order: hold a seat, then ask for the money
alipay.py     Alipay's protocol: the payment form, query, close, refund (rsa2.py signs)
payments.py   what a payment changes; Alipay's notifications
returning.py  orders given back, orders closed unpaid, refunds
callbacks.py  what the platform's notifications change
rabbitmq.py   the same notifications as messages
work.py       the loop: everything that happens without a request
market.py     the platform: its client, its callbacks and its pages
login.py      login by WeChat's QR code (wechat.py), and again by this browser's secret
views/        pages, and the endpoints that the existing static pages call
"""
