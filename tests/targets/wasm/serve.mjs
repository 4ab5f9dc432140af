// Usage: serve.mjs DIRECTORY PAGE SELECTOR
//
// Serves a directory, and at /frame the page in a frame. Prints the port; when the page has an element
// that matches the selector, prints what its body holds, and ends. The image of /frame is answered only
// then: a browser that waits for the load event waits for the page.
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";

const [directory, page, selector] = process.argv.slice(2);
const types = { ".html": "text/html", ".mjs": "text/javascript", ".js": "text/javascript", ".wasm": "application/wasm" };

const frame = `<!doctype html>
<body style="margin: 0">
<iframe src="/${page}" style="border: 0; display: block; width: 100vw; height: 100vh"></iframe>
<img src="/done" hidden>
<script>
    const timer = setInterval(() => {
        const page = document.querySelector("iframe").contentDocument;
        if (page?.querySelector(${JSON.stringify(selector)})) {
            clearInterval(timer);
            fetch("/done", { method: "POST", body: page.body.innerHTML });
        }
    }, 50);
</script>`;

const waiting = [];
const server = createServer(async (request, response) => {
    const path = normalize(decodeURIComponent(new URL(request.url, "http://localhost").pathname));
    if (path === "/frame") {
        response.writeHead(200, { "content-type": "text/html" });
        response.end(frame);
    } else if (path === "/done" && request.method === "POST") {
        const parts = [];
        for await (const part of request) parts.push(part);
        console.log(Buffer.concat(parts).toString());
        for (const each of [response, ...waiting]) each.writeHead(204).end();
        server.close();
    } else if (path === "/done") {
        waiting.push(response);
    } else {
        try {
            const body = await readFile(join(directory, path));
            response.writeHead(200, { "content-type": types[extname(path)] ?? "text/plain" });
            response.end(body);
        } catch {
            response.writeHead(404);
            response.end();
        }
    }
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
