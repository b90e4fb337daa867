"""Goods, discounts, activities, and the trial (试算)."""
