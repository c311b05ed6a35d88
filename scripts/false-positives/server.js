// A Node service as they are: workers, files, a child program, gzip.
const cluster = require("node:cluster");
const { execFile } = require("node:child_process");
const fs = require("node:fs");
const http = require("node:http");
const zlib = require("node:zlib");

const port = Number(process.argv[2]);

if (cluster.isPrimary) {
  cluster.fork();
  cluster.fork();
  process.on("SIGTERM", () => process.exit(0));
} else {
  http
    .createServer((request, response) => {
      if (request.url === "/child") {
        execFile("uname", ["-r"], (error, output) => response.end(error ? "error" : output));
        return;
      }
      const name = `upload-${process.pid}.tmp`;
      fs.writeFileSync(name, "data".repeat(1000));
      fs.renameSync(name, "upload");
      response.setHeader("Content-Encoding", "gzip");
      response.end(zlib.gzipSync(fs.readFileSync("/etc/hostname")));
    })
    .listen(port, "127.0.0.1");
}
