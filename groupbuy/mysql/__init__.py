"""Django's MySQL backend without the round trips that do no work."""
