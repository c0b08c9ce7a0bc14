"""Real model servers and their real clients, each pair in an environment of its own.

`pair_*.py` are not collected by a plain `pytest`: `make test-servers` makes their environments and names them. The light
pair, `test_mlserver.py`, runs with everything else.
"""
