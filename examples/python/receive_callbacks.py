"""Receives callbacks, verifies their signatures, drops repeats, and keeps each message's newest status."""

import http.server
import json
import sys

from standardwebhooks import Webhook, WebhookVerificationError

PORT, SECRET = int(sys.argv[1]), sys.argv[2]

# In a real service both stand in its database, changed in one transaction.
seen, newest = set(), {}


class Callbacks(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        # The signature is over these very bytes: verify before anything reads them.
        body = self.rfile.read(int(self.headers["content-length"]))
        try:
            Webhook(SECRET).verify(body, {name.lower(): value for name, value in self.headers.items()})
        except WebhookVerificationError as error:
            return self.answer(401, str(error))
        # At least once: after a lost answer the same one comes again.
        if self.headers["webhook-id"] not in seen:
            seen.add(self.headers["webhook-id"])
            take(json.loads(body))
        self.answer(204)

    def answer(self, status, why=""):
        self.send_response(status)
        self.send_header("content-length", str(len(why)))
        self.end_headers()
        self.wfile.write(why.encode())

    def log_message(self, *_):
        pass


def take(callback):
    data = callback["data"]
    if callback["type"] == "message.incoming":
        print("from", data.get("from"), data["content"], flush=True)
    # A callback that was given up and retried by an operator comes late.
    elif newest.get(data["message_id"], 0) < data["sequence"]:
        newest[data["message_id"]] = data["sequence"]
        print(data["message_id"], data["current_status"], data.get("callback_data", ""), flush=True)


http.server.ThreadingHTTPServer(("127.0.0.1", PORT), Callbacks).serve_forever()
