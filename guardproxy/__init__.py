"""guardproxy: a sidecar that checks what goes into a model server and what comes out, row by row."""

__version__ = "0.1.0"
