"""A load test (压测) of any platform: `make load`."""
