"""A load test (压测) that anybody can run against their platform: `make load`."""
