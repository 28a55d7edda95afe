#!/usr/bin/env node
// Own a worker from Node: nothing but the standard library, Node 18 or newer.
//
//     owner.mjs upload   FILE STORE [SECONDS]
//     owner.mjs download FILE STORE MANIFEST [SECONDS]
//
// An upload prints the file's manifest: the one hash that gets it back. SECONDS limits the whole
// transfer. STORE_WORKERS names the worker (default: store-workers.pyz here), PYTHON the
// interpreter (default: python3).
//
// FILE may be a FIFO. Then SECONDS is all that bounds how long it waits for its other end, and what
// was taken from it, or written to it, is not sent again: `retryable` is false.
//
// Exit status: 0 done, 1 failed, 124 out of time, 130 or 143 cancelled by Ctrl-C or SIGTERM.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { stat } from "node:fs/promises";
import { constants } from "node:os";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";

const WORKER = process.env.STORE_WORKERS ?? "store-workers.pyz";
const PYTHON = process.env.PYTHON ?? "python3";
const RUNS = 5; // how often a message is sent
const PAUSE = 1000; // ms before it is sent again, doubled from time to time
const GRACE = 5000; // ms that a worker gets to stop by itself
const TERMINAL = new Set(["FILE_UPLOADED", "FILE_DOWNLOADED", "ERROR"]);

/** Send a message until it is done, cannot be, or `signal` aborts; resolves to the last event. */
async function transfer(message, onEvent, signal) {
  for (let run = 1; ; run += 1) {
    const last = await runOnce(message, onEvent, signal);
    if (last.type !== "ERROR" || !last.retryable || run === RUNS || signal.aborted) return last;
    // The next run finds what this one stored: nothing is sent twice.
    await sleep(PAUSE * 2 ** (run - 1), undefined, { signal }).catch(() => {});
    if (signal.aborted) return last;
  }
}

/** Run one worker; resolves to its last event. */
async function runOnce(message, onEvent, signal) {
  // Detached: Ctrl-C reaches this owner alone, which then asks the worker to stop.
  const worker = spawn(PYTHON, [WORKER], { stdio: ["pipe", "pipe", "inherit"], detached: true });
  const ended = once(worker, "close");
  let killer;
  const stop = () => {
    worker.kill("SIGTERM");
    killer = setTimeout(() => worker.kill("SIGKILL"), GRACE);
  };
  signal.addEventListener("abort", stop, { once: true });
  if (signal.aborted) stop();
  try {
    worker.stdin.on("error", () => {}); // it ended early: its last line says why
    worker.stdin.end(JSON.stringify(message) + "\n");
    let last;
    for await (const line of createInterface({ input: worker.stdout, crlfDelay: Infinity })) {
      last = JSON.parse(line);
      onEvent(last);
    }
    const [status, by] = await ended;
    if (TERMINAL.has(last?.type)) return last;
    const text = `the worker ended without a last event, with status ${status ?? by}`;
    const retryable = await canBeRepeated(message.path);
    return { type: "ERROR", code: "CANCELLED", message: text, retryable };
  } finally {
    clearTimeout(killer);
    signal.removeEventListener("abort", stop);
  }
}

/** Can a lost run be repeated? What it took from a pipe, or wrote to one, is gone. */
async function canBeRepeated(path) {
  const found = await stat(path).catch(() => null);
  return found === null || found.isFile();
}

/** Show a person how far it is. */
function show(event) {
  if (event.type === "PROGRESS" && "read_bytes" in event) {
    const total = event.total_bytes === null ? "" : ` of ${event.total_bytes}`;
    console.error(`read ${event.read_bytes}${total} bytes`);
  } else if (event.type === "PROGRESS") {
    console.error(`fetched ${event.fetched_chunks} of ${event.total_chunks}`);
  } else if (event.type === "CHUNK_RETRY" || event.type === "WARNING") {
    console.error(`${event.code}: ${event.message}`);
  }
}

async function main(action, file, store, ...more) {
  const manifest = action === "upload" ? undefined : more.shift();
  const settings = { max_attempts: 3, progress_interval_ms: 500 };
  const message =
    action === "upload"
      ? { type: "UPLOAD_START", path: file, store, settings, manifest: true }
      : { type: "DOWNLOAD_START", path: file, store, settings, manifest };
  const stopping = new AbortController();
  let status = 1;
  const stop = (because) => {
    if (!stopping.signal.aborted) status = because;
    stopping.abort();
  };
  for (const name of ["SIGINT", "SIGTERM"]) {
    process.on(name, () => stop(128 + constants.signals[name]));
  }
  const limit = Number(more[0] ?? 0);
  if (limit) setTimeout(stop, limit * 1000, 124).unref();

  const last = await transfer(message, show, stopping.signal);
  if (last.type === "ERROR") {
    console.error(`${last.code}: ${last.message}`);
    return status;
  }
  if (action === "upload") console.log(last.manifest);
  console.error(`${action}ed ${last.size} bytes in ${last.duration_ms / 1000} s`);
  return 0;
}

process.exit(await main(...process.argv.slice(2)));
