"""Asks a service again and again: load.py PORT SECONDS. Bounded: some dozens of requests a second."""

import http.client
import sys
import time

port, seconds = int(sys.argv[1]), float(sys.argv[2])
end = time.monotonic() + seconds
asked = failed = 0
while time.monotonic() < end:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        for path in ["/", "/index.html", "/child", "/missing"]:
            connection.request("GET", path)
            connection.getresponse().read()
            asked += 1
    except OSError:
        failed += 1
    connection.close()
    time.sleep(0.05)
print(f"{asked} requests, {failed} failed connections")
sys.exit(0 if asked > 0 and failed * 20 < asked else 1)
