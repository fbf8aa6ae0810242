// Requests to the API with the reader's token, which lives in this tab and nowhere else.

const KEY = "token";

export const token = () => sessionStorage.getItem(KEY);
export const signIn = (text) => sessionStorage.setItem(KEY, text);
export const signOut = () => sessionStorage.removeItem(KEY);

/** A refusal that can be shown: a status and a sentence. */
export class Refused extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

async function request(path, options = {}) {
  let response;
  try {
    const headers = { Authorization: `Bearer ${token()}`, ...options.headers };
    response = await fetch(path, { ...options, headers, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, "The service can't be reached. Is it running?");
  }
  if (response.ok) return response;
  const problem = await response.json().catch(() => ({}));
  throw new Refused(response.status, problem.detail ?? "The service refuses to say why.");
}

/** JSON of a path, and whether it comes from a cache because the database is down. */
export async function get(path, signal) {
  const response = await request(path, { signal });
  // Ids may have more digits than a JavaScript number keeps; as texts they lose none.
  const text = (await response.text()).replace(/("(?:[a-z_]*_id|before|lsn)":)(-?\d{16,})/g, '$1"$2"');
  return { body: JSON.parse(text), isStale: response.headers.get("x-stale") === "true" };
}

/** Server-sent events with a token, which EventSource can't send; ends when the signal does. */
export async function listen(path, signal, onOpen, onEvent) {
  let lastId = null;
  for (let pause = 500; !signal.aborted; pause = Math.min(pause * 2, 8000)) {
    try {
      const headers = lastId ? { "Last-Event-ID": lastId } : {};
      const response = await request(path, { signal, headers });
      onOpen(true);
      pause = 500;
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      let buffer = "";
      for (let part = await reader.read(); !part.done; part = await reader.read()) {
        buffer += part.value;
        const blocks = buffer.split("\n\n");
        buffer = blocks.pop();
        for (const block of blocks) {
          const event = parse(block);
          lastId = event.id ?? lastId;
          if (event.data !== undefined) onEvent(event);
        }
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error.status === 401 || error.status === 403) throw error;
    }
    onOpen(false);
    await new Promise((done) => setTimeout(done, pause));
  }
}

function parse(block) {
  const event = {};
  for (const line of block.split("\n")) {
    const match = /^(\w+): ?(.*)$/.exec(line);
    if (match) event[match[1]] = match[2];
  }
  return event;
}
