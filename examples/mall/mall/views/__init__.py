"""What is served: pages for shoppers, and endpoints for the old pages, Alipay, WeChat, platform."""
