"""What and how much: goods, discounts, activities, and the trial (试算)."""
