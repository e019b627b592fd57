"""python -m zipmoe.wire.health scheduler: exit code 0 if that service answers that it serves, else 1 and a line.

For containers, whose engine asks so now and then. It starts anew each time, and brings what a call needs and no more.
"""

import argparse
import sys

import grpc
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from zipmoe.wire import places

# A service whose loop has not come round for so long is not well.
_PATIENCE_SECONDS = 5.0


def ask(address: str) -> str | None:
    """What is wrong with the service there, or None."""
    with grpc.insecure_channel(address) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(HealthCheckRequest(), timeout=_PATIENCE_SECONDS)
        except grpc.RpcError as error:
            return f"{address}: {error.code().name}: {error.details()}"
    if answer.status == HealthCheckResponse.SERVING:
        return None
    return f"{address}: {HealthCheckResponse.ServingStatus.Name(answer.status)}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m zipmoe.wire.health", description="Ask a service if it is well.")
    parser.add_argument("service", choices=("expert_store", "scheduler", "inference"))
    places.add_arguments(parser)
    arguments = parser.parse_args()
    sys.exit(ask(getattr(places.from_arguments(arguments), arguments.service)))


if __name__ == "__main__":
    main()
