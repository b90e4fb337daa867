"""Views: shoppers' pages, and endpoints for old static pages, Alipay, WeChat and the platform."""
