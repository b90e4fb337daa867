"""The shopper pages. They show offers, teams and orders, and change none of them."""
