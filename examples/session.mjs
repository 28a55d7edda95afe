#!/usr/bin/env node
// Own one worker for many files from Node: a class with `await store.upload(path)`.
//
//   session.mjs STORE SECONDS FILE...
//
// Uploads every file by one session and prints `<manifest>  <path>` for each, as sha256sum does.
// SECONDS limits each file's time (0: no limit). STORE_WORKERS names the worker.
//
// Exit status: 0 all done, 1 some failed, 130 or 143 cancelled by Ctrl-C or SIGTERM.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const WORKER = process.env.STORE_WORKERS ?? "store-workers.pyz";
const GRACE = 5000; // milliseconds that a worker gets to stop by itself
const AT_ONCE = 100; // messages that this program has under way: the worker would take 1000
const TERMINAL = ["FILE_UPLOADED", "FILE_DOWNLOADED", "FILE_VERIFIED", "ERROR"];

/** A message ended in an ERROR: `event` has its code, and whether sending it again may help. */
export class TransferFailed extends Error {
  constructor(event) {
    super(`${event.code}: ${event.message}`);
    this.event = event;
  }
}

/**
 * One worker that moves many files. Any number of calls may be awaited at once. An `AbortSignal`
 * stops its own file and no other: `AbortSignal.timeout(ms)` is a limit of time.
 */
export class Session {
  #ends = new Map();
  #ids = 0;
  #lost; // set once the worker has ended
  #worker;
  #ended;

  constructor(store, more = {}) {
    const settings = { progress_interval_ms: 0, chunk_events: false };
    // A group of its own: Ctrl-C reaches this owner alone, which then asks the worker to stop.
    this.#worker = spawn("python3", [WORKER], {
      stdio: ["pipe", "pipe", "inherit"],
      detached: true,
    });
    this.#worker.stdin.on("error", () => {}); // it ended early: the reader tells all who wait
    this.#ended = this.#read();
    this.#send({ type: "SESSION_START", store, settings, ...more });
  }

  /** Upload a file; resolves to its FILE_UPLOADED, rejects with `TransferFailed`. */
  upload(path, more = {}, signal = undefined) {
    return this.run({ type: "UPLOAD_START", path, manifest: true, ...more }, signal);
  }

  /** Download a file; resolves to its FILE_DOWNLOADED, rejects with `TransferFailed`. */
  download(manifest, path, more = {}, signal = undefined) {
    return this.run({ type: "DOWNLOAD_START", path, manifest, ...more }, signal);
  }

  /** Have one message done; resolves to its last event. */
  async run(message, signal = undefined) {
    signal?.throwIfAborted();
    if (this.#lost) throw new TransferFailed(this.#lost);
    const id = String(this.#ids++);
    const end = new Promise((resolve) => this.#ends.set(id, resolve));
    const cancel = () => this.#send({ type: "CANCEL", id });
    signal?.addEventListener("abort", cancel, { once: true });
    try {
      await this.#send({ ...message, id });
      const event = await end; // also after a cancel: it leaves nothing half done behind
      if (event.type === "ERROR") throw new TransferFailed(event);
      return event;
    } finally {
      signal?.removeEventListener("abort", cancel);
      this.#ends.delete(id);
    }
  }

  /** Send no more; resolves once all that was sent is done. */
  close() {
    this.#worker.stdin.end();
    return this.#ended;
  }

  /** End every file now; resolves once the worker has stopped. */
  async stop() {
    this.#worker.kill("SIGTERM");
    const timer = setTimeout(() => this.#worker.kill("SIGKILL"), GRACE);
    await this.#ended;
    clearTimeout(timer);
  }

  /** Write one line; waits while the worker does not read, so nothing piles up here. */
  async #send(message) {
    const stdin = this.#worker.stdin;
    if (stdin.writable && !stdin.write(JSON.stringify(message) + "\n")) {
      await Promise.race([once(stdin, "drain").catch(() => {}), this.#ended]);
    }
  }

  /** Hand each message's last event to whoever awaits it. */
  async #read() {
    let last = { code: "CANCELLED", message: "the worker was lost", retryable: true };
    for await (const line of createInterface({ input: this.#worker.stdout })) {
      let event;
      try {
        event = JSON.parse(line);
      } catch {
        break; // it was killed in the middle of a line
      }
      if (["CHUNK_RETRY", "WARNING"].includes(event.type)) {
        console.error(`${event.code}: ${event.message}`);
      } else if (event.type === "ERROR" && event.id === undefined) {
        last = event; // the session's own: what is not ended ends with it
      } else if (TERMINAL.includes(event.type)) {
        this.#ends.get(event.id)?.(event);
      }
    }
    this.#lost = { ...last, type: "ERROR" };
    for (const end of this.#ends.values()) end(this.#lost);
  }
}

async function main(store, seconds, ...paths) {
  const session = new Session(store, { max_files: 8 });
  let stoppedBy = 0;
  for (const [name, number] of [["SIGINT", 2], ["SIGTERM", 15]]) {
    process.on(name, () => {
      if (stoppedBy) return;
      stoppedBy = number;
      session.stop();
    });
  }
  let failed = 0;
  const waiting = [...paths];
  const some = async () => {
    while (waiting.length && !stoppedBy) {
      const path = waiting.shift();
      const limit = Number(seconds) ? AbortSignal.timeout(Number(seconds) * 1000) : undefined;
      try {
        const done = await session.upload(path, {}, limit);
        console.log(`${done.manifest}  ${path}`);
      } catch (error) {
        failed++;
        if (!stoppedBy) console.error(`${path}: ${limit?.aborted ? "out of time" : error.message}`);
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, some));
  await session.close();
  if (stoppedBy) console.error("cancelled");
  return stoppedBy ? 128 + stoppedBy : failed ? 1 : 0;
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  process.exitCode = await main(...process.argv.slice(2));
}
