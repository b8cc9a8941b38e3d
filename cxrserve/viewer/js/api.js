// The service, asked over HTTP: its problems as errors, a token where it wants one, back-off where it is away.

const TOKEN = "cxrserve.token";
const TRANSIENT = new Set([0, 429, 502, 503, 504]);
const FIRST_WAIT_S = 1;
const LONGEST_WAIT_S = 15;

/** What the service answered instead of what was asked for (RFC 9457), or that it did not answer (status 0). */
export class Problem extends Error {
  constructor({ title, detail, status, retryAfterS = 0 }) {
    super(detail);
    this.name = "Problem";
    this.title = title;
    this.detail = detail.charAt(0).toUpperCase() + detail.slice(1);
    this.status = status;
    this.retryAfterS = retryAfterS;
  }

  /** True where the file itself was refused: sending it again changes nothing. */
  get final() {
    return this.status >= 400 && this.status < 500 && !this.transient;
  }

  /** True where the same request may well succeed later. */
  get transient() {
    return TRANSIENT.has(this.status);
  }
}

let tokenWanted = null;
let askForToken = () => Promise.reject(new Error("nobody asks for a token"));

/** `ask` shows a dialog and resolves with a token. @param {() => Promise<string>} ask */
export function onTokenWanted(ask) {
  askForToken = ask;
}

/**
 * Send a request; a body is sent with its progress told.
 * @param {string} path
 * @param {{method?: string, body?: Blob, headers?: Record<string, string>, as?: "json"|"bytes"|"blob", onSent?: (share: number) => void, signal?: AbortSignal}} [options]
 * @returns {Promise<{status: number, body: any, header: (name: string) => string|null}>}
 * @throws {Problem}
 */
export async function ask(path, options = {}) {
  for (;;) {
    const used = sessionStorage.getItem(TOKEN);
    const answer = await send(path, options, used);
    if (answer.status !== 401) return answer;
    if (sessionStorage.getItem(TOKEN) !== used) continue; // another request was given one meanwhile
    tokenWanted ??= askForToken().finally(() => (tokenWanted = null));
    sessionStorage.setItem(TOKEN, await tokenWanted);
  }
}

/** Ask again and again while the service is away or busy; `onWait` is told the problem and for how long. */
export async function askUntilAnswered(path, options, { onWait, wake }) {
  for (let wait = FIRST_WAIT_S; ; wait = Math.min(wait * 2, LONGEST_WAIT_S)) {
    try {
      return await ask(path, options);
    } catch (problem) {
      if (!(problem instanceof Problem) || !problem.transient || options.signal?.aborted) throw problem;
      const seconds = Math.max(wait, problem.retryAfterS);
      onWait(problem, seconds);
      await pause(seconds, wake, options.signal);
    }
  }
}

/** Wait `seconds`, less if `wake` fires "now". */
function pause(seconds, wake, signal) {
  return new Promise((resolve, reject) => {
    const done = () => {
      clearTimeout(timer);
      wake.removeEventListener("now", done);
      signal?.removeEventListener("abort", gone);
      resolve();
    };
    const gone = () => {
      clearTimeout(timer);
      wake.removeEventListener("now", done);
      reject(signal.reason);
    };
    const timer = setTimeout(done, seconds * 1000);
    wake.addEventListener("now", done);
    signal?.addEventListener("abort", gone, { once: true });
  });
}

function send(path, { method = "GET", body, headers = {}, as = "json", onSent, signal }, token) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest(); // fetch does not tell how much was sent
    request.open(method, path);
    request.responseType = as === "json" ? "text" : as === "bytes" ? "arraybuffer" : "blob";
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    if (token) request.setRequestHeader("Authorization", `Bearer ${token}`);
    if (body) request.setRequestHeader("Content-Type", "application/octet-stream");
    if (onSent) request.upload.onprogress = (event) => onSent(event.total ? event.loaded / event.total : 0);
    const abort = () => request.abort();
    signal?.addEventListener("abort", abort, { once: true });
    request.onabort = () => reject(signal?.reason ?? new DOMException("gone", "AbortError"));
    request.onerror = () => reject(away());
    request.onload = () => {
      signal?.removeEventListener("abort", abort);
      settle(request, as).then(resolve, reject);
    };
    request.send(body ?? null);
  });
}

async function settle(request, as) {
  const header = (name) => request.getResponseHeader(name);
  const status = request.status;
  if (status >= 400 && status !== 401) throw await problemOf(request, header);
  const plain = status === 304 || status === 401;
  return { status, body: plain ? null : as === "json" ? JSON.parse(request.response) : request.response, header };
}

async function problemOf(request, header) {
  let said = {};
  try {
    said = JSON.parse(await textOf(request.response));
  } catch {
    // a proxy's page, or nothing
  }
  const retryAfterS = Number(header("Retry-After")) || 0;
  // The service's own failures say so in JSON. What does not was cut off as it stopped, or comes from a proxy.
  if (!said.title && request.status >= 500) return away();
  return new Problem({
    title: said.title ?? "The service did not answer as expected",
    detail: said.detail ?? `It answered with status ${request.status}. Try again; if that stays so, look at its log.`,
    status: request.status,
    retryAfterS,
  });
}

async function textOf(response) {
  if (typeof response === "string") return response;
  return response instanceof Blob ? response.text() : new TextDecoder().decode(response);
}

const away = () =>
  new Problem({
    title: "The service cannot be reached",
    detail: "Your files are kept here and are sent again by themselves as soon as it answers.",
    status: 0,
  });
