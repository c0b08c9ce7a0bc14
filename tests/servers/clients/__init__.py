"""Real clients, run in the environment of their pair: calls come in as lines of JSON, what the objects hold goes out."""
