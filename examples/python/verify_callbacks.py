"""Verifies callbacks that come as lines of JSON (headers and body), with the package of Standard Webhooks."""

import json
import sys

from standardwebhooks import Webhook

webhook, count = Webhook(sys.argv[1]), 0
for line in sys.stdin:
    post = json.loads(line)
    webhook.verify(post["body"], post["headers"])
    count += 1
print(f"{count} signatures verified by the package standardwebhooks")
