// Serves a directory and prints the port.
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";

const types = { ".html": "text/html", ".mjs": "text/javascript", ".js": "text/javascript", ".wasm": "application/wasm" };

const server = createServer(async (request, response) => {
    const path = normalize(decodeURIComponent(new URL(request.url, "http://localhost").pathname));
    try {
        const body = await readFile(join(process.argv[2], path));
        response.writeHead(200, { "content-type": types[extname(path)] ?? "text/plain" });
        response.end(body);
    } catch {
        response.writeHead(404);
        response.end();
    }
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
