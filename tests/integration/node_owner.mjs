// An owner in Node: uploads a file, downloads it again, and prints one line about what it saw.
// usage: node node_owner.mjs PYTHON ARTIFACT SOURCE STORE TARGET

import { spawn } from "node:child_process";
import { createInterface } from "node:readline";

const [python, artifact, source, store, target] = process.argv.slice(2);

async function run(message) {
  const worker = spawn(python, [artifact], { stdio: ["pipe", "pipe", "pipe"] });
  const ended = new Promise((resolve) => worker.on("close", resolve));
  let stderr = "";
  worker.stderr.on("data", (data) => (stderr += data));
  worker.stdin.write(JSON.stringify(message) + "\n"); // and stays open
  const events = [];
  for await (const line of createInterface({ input: worker.stdout })) events.push(JSON.parse(line));
  const status = await ended;
  if (status !== 0 || stderr !== "") throw new Error(`status ${status}: ${stderr}`);
  return events;
}

const up = await run({ type: "UPLOAD_START", id: "up", path: source, store });
const { hashes } = up.at(-1);
const down = await run({ type: "DOWNLOAD_START", id: "down", path: target, store, hashes });
console.log(
  JSON.stringify({
    hashes,
    chunks: up.filter((event) => event.type === "CHUNK").length,
    ids: [...new Set([...up, ...down].map((event) => event.id))],
    last: [up.at(-1).type, down.at(-1).type],
  }),
);
