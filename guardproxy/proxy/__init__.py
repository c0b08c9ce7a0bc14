"""The data plane: routes, the steps of a guarded exchange, what is remembered of it, and the background flush."""
