"""The data plane's second listener: gRPC through `grpc.aio`, needed only where the configuration has `grpc:`.

Nothing else of guardproxy imports this package at import time, since the library is an extra.
"""

from guardproxy.proxy.grpc.plane import GrpcPlane

__all__ = ["GrpcPlane"]
