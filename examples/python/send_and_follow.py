"""Sends one message and follows it to its end, also when the connection breaks in between."""

import pathlib
import sys
import tempfile
import time
import uuid

import grpc
from grpc_tools import protoc

# Stubs from the contract, made at start so that the example is one file. A real service makes them when it is built.
PROTO = pathlib.Path(__file__).resolve().parents[2] / "proto"
stubs = tempfile.mkdtemp()
files = [str(file) for file in PROTO.glob("recado/v1/*.proto")]
google = pathlib.Path(protoc.__file__).parent / "_proto"
if protoc.main(["", f"-I{PROTO}", f"-I{google}", f"--python_out={stubs}", f"--grpc_python_out={stubs}", *files]) != 0:
    sys.exit("the stubs could not be made")
sys.path.insert(0, stubs)

from recado.v1 import event_service_pb2 as events
from recado.v1 import event_service_pb2_grpc as events_grpc
from recado.v1 import message_pb2 as message
from recado.v1 import messaging_service_pb2 as messaging
from recado.v1 import messaging_service_pb2_grpc as messaging_grpc

# Worth another try: the gateway restarts, is full, or its database is away.
PASSING = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)
LAST = (message.MESSAGE_STATUS_READ, message.MESSAGE_STATUS_FAILED, message.MESSAGE_STATUS_EXPIRED)


def send(channel, to, text):
    """Sends, and repeats after an error that passes: the key makes sure that one message comes of it."""
    stub = messaging_grpc.MessagingServiceStub(channel)
    request = messaging.SendMessageRequest(sender="sandbox", to=to)
    request.text.body = text
    request.options.idempotency_key = str(uuid.uuid4())
    while True:
        try:
            return stub.SendMessage(request, timeout=10)
        except grpc.RpcError as error:
            if error.code() not in (*PASSING, grpc.StatusCode.DEADLINE_EXCEEDED):
                raise
            print(f"not sent yet: {error.details()}")
            time.sleep(1)


def follow(channel, cursor, message_id):
    """Gives the message's events in order, each once. After a break it goes on from the last cursor."""
    stub = events_grpc.EventServiceStub(channel)
    seen = set()
    while True:
        request = events.StreamEventsRequest(after_cursor=cursor)
        request.filter.message_ids.append(message_id)
        try:
            for item in stub.StreamEvents(request):
                kind = item.WhichOneof("item")
                if kind in ("checkpoint", "caught_up", "going_away"):
                    cursor = getattr(item, kind).cursor
                elif kind == "event":
                    # A service keeps both where it keeps its own data, in the same transaction.
                    cursor = item.event.cursor
                    if item.event.event_id not in seen:
                        seen.add(item.event.event_id)
                        yield item.event
        except grpc.RpcError as error:
            if error.code() not in PASSING:
                raise
            print(f"the stream broke: {error.details()}")
        time.sleep(1)


def main():
    server = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:50051"
    to = sys.argv[2] if len(sys.argv) > 2 else "+5511987654321"
    with grpc.insecure_channel(server) as channel:
        sent = send(channel, to, "Hello from Python")
        print(f"message {sent.message_id}")
        for event in follow(channel, sent.cursor, sent.message_id):
            status = event.status_changed
            print(f"{event.record_time.ToJsonString()} {message.MessageStatus.Name(status.status)}")
            if status.current_status in LAST:
                return


if __name__ == "__main__":
    main()
