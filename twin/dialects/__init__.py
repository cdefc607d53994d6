"""Other people's topics and messages on the same engine."""
