'use strict';

const { spawnSync } = require('node:child_process');

const SERVER = `
import http.server, os, socketserver
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = f"{os.getpid()} {self.path}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
`;

/** Settings of workers that are a server in Python, which answers with its process id and the path. */
const pythonServer = { execPath: 'python3', execArgv: ['-c'], exec: SERVER, args: [] };

/** Why it cannot be tested here; false if it can. */
const withoutPython = spawnSync('python3', ['--version']).error !== undefined && 'there is no python3';

module.exports = { pythonServer, withoutPython };
