"""Partners for tests of the wire: raw clients, raw upstreams, and a TCP proxy that goes wrong on purpose."""
