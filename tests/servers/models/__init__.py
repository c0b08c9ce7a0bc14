"""What the real servers serve, run in the environment of their pair."""
