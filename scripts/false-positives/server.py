"""A Python service as they are: threads, SQLite, a child program, temporary files, logs."""

import http.server
import logging
import sqlite3
import subprocess
import sys
import tempfile

logging.basicConfig(filename="service.log", level=logging.INFO)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/child":
            answer = subprocess.run(["uname", "-r"], capture_output=True, check=True).stdout
        else:
            with sqlite3.connect("service.db") as database:
                database.execute("CREATE TABLE IF NOT EXISTS visits (path TEXT)")
                database.execute("INSERT INTO visits VALUES (?)", (self.path,))
            with tempfile.NamedTemporaryFile() as upload:
                upload.write(b"data" * 1000)
            answer = b"ok"
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format, *arguments):
        logging.info(format, *arguments)


http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
