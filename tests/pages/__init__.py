"""Tests of the shopper pages."""
