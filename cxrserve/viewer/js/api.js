// The HTTP client of the service: problems as errors, the bearer token, retries while it is unreachable.

const TOKEN = "cxrserve.token";
const TRANSIENT = new Set([0, 429, 502, 503, 504]);
const FIRST_WAIT_S = 1;
const MAX_WAIT_S = 15;

/** An error of a request: the problem that the service answered with (RFC 9457), or status 0 without an answer. */
export class Problem extends Error {
  /** @param {{title: string, detail: string, status: number, retryAfterS?: number}} problem */
  constructor({ title, detail, status, retryAfterS = 0 }) {
    super(detail);
    this.name = "Problem";
    this.title = title;
    this.detail = detail.charAt(0).toUpperCase() + detail.slice(1);
    this.status = status;
    this.retryAfterS = retryAfterS;
  }

  /** True if the file was refused: sending it again is useless. */
  get final() {
    return this.status >= 400 && this.status < 500 && !this.transient;
  }

  /** True if the same request may succeed later. */
  get transient() {
    return TRANSIENT.has(this.status);
  }
}

/** @type {Promise<string>|null} */
let pendingToken = null;
/** @type {() => Promise<string>} */
let askForToken = () => Promise.reject(new Error("no dialog for the token is set"));

/** Set the dialog that asks the user for a token. @param {() => Promise<string>} ask */
export function onTokenWanted(ask) {
  askForToken = ask;
}

/**
 * @typedef {{method?: string, body?: Blob|null, headers?: Record<string, string>, as?: "json"|"bytes"|"blob", onSent?: (share: number) => void, onHead?: (header: (name: string) => string|null) => void, signal?: AbortSignal}} Options
 * `onSent` reports the share of the body that was sent; `onHead` that an answer with status 200 begins.
 * @typedef {{status: number, body: any, header: (name: string) => string|null}} Response
 */

/**
 * Send a request; ask for a token if the service needs one.
 * @param {string} path @param {Options} [options] @returns {Promise<Response>}
 * @throws {Problem}
 */
export async function ask(path, options = {}) {
  for (;;) {
    const token = sessionStorage.getItem(TOKEN);
    const answer = await send(path, options, token);
    if (answer.status !== 401) return answer;
    if (sessionStorage.getItem(TOKEN) !== token) continue; // another request has asked meanwhile
    pendingToken ??= askForToken().finally(() => (pendingToken = null));
    sessionStorage.setItem(TOKEN, await pendingToken);
  }
}

/**
 * Send a request, and repeat it while the service is unreachable or busy.
 * @param {string} path @param {Options} options
 * @param {{onWait: (problem: Problem, seconds: number) => void, wake: EventTarget}} retry `onWait` reports each wait;
 *   the event "now" of `wake` ends it.
 * @returns {Promise<Response>}
 */
export async function askUntilAnswered(path, options, { onWait, wake }) {
  for (let wait = FIRST_WAIT_S; ; wait = Math.min(wait * 2, MAX_WAIT_S)) {
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

/**
 * Wait `seconds`, or until `wake` fires "now".
 * @param {number} seconds @param {EventTarget} wake @param {AbortSignal} [signal] @returns {Promise<void>}
 */
function pause(seconds, wake, signal) {
  return new Promise((resolve, reject) => {
    const done = () => {
      clearTimeout(timer);
      wake.removeEventListener("now", done);
      signal?.removeEventListener("abort", aborted);
      resolve();
    };
    const aborted = () => {
      clearTimeout(timer);
      wake.removeEventListener("now", done);
      reject(signal?.reason);
    };
    const timer = setTimeout(done, seconds * 1000);
    wake.addEventListener("now", done);
    signal?.addEventListener("abort", aborted, { once: true });
  });
}

/** @param {string} path @param {Options} options @param {string|null} token @returns {Promise<Response>} */
function send(path, { method = "GET", body, headers = {}, as = "json", onSent, onHead, signal }, token) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest(); // fetch does not report how much was sent
    request.open(method, path);
    request.responseType = as === "json" ? "text" : as === "bytes" ? "arraybuffer" : "blob";
    const all = { ...(body && { "Content-Type": "application/octet-stream" }), ...headers };
    for (const [name, value] of Object.entries(all)) request.setRequestHeader(name, value);
    if (token) request.setRequestHeader("Authorization", `Bearer ${token}`);
    if (onSent) request.upload.onprogress = (event) => onSent(event.total ? event.loaded / event.total : 0);
    request.onreadystatechange = () => {
      if (request.readyState === XMLHttpRequest.HEADERS_RECEIVED && request.status === 200)
        onHead?.((name) => request.getResponseHeader(name));
    };
    const abort = () => request.abort();
    signal?.addEventListener("abort", abort, { once: true });
    request.onabort = () => reject(signal?.reason ?? new DOMException("aborted", "AbortError"));
    request.onerror = () => reject(unreachable());
    request.onload = () => {
      signal?.removeEventListener("abort", abort);
      settle(request, as).then(resolve, reject);
    };
    request.send(body ?? null);
  });
}

/** @param {XMLHttpRequest} request @param {Options["as"]} as @returns {Promise<Response>} */
async function settle(request, as) {
  /** @param {string} name */
  const header = (name) => request.getResponseHeader(name);
  const status = request.status;
  if (status >= 400 && status !== 401) throw await problemOf(request, header);
  const empty = status === 304 || status === 401;
  return {
    status,
    body: empty ? null : as === "json" ? JSON.parse(request.response) : request.response,
    header,
  };
}

/** @param {XMLHttpRequest} request @param {Response["header"]} header */
async function problemOf(request, header) {
  /** @type {{title?: string, detail?: string}} */
  let problem = {};
  try {
    problem = JSON.parse(await textOf(request.response));
  } catch {
    // a proxy's page, or nothing
  }
  const retryAfterS = Number(header("Retry-After")) || 0;
  // The service reports its own failures in JSON. Anything else was cut off at shutdown, or is from a proxy.
  if (!problem.title && request.status >= 500) return unreachable();
  return new Problem({
    title: problem.title ?? "The service did not answer as expected",
    detail:
      problem.detail ??
      `It answered with status ${request.status}. Try again; if that stays so, look at its log.`,
    status: request.status,
    retryAfterS,
  });
}

/** @param {string|Blob|ArrayBuffer} response */
async function textOf(response) {
  if (typeof response === "string") return response;
  return response instanceof Blob ? response.text() : new TextDecoder().decode(response);
}

const unreachable = () =>
  new Problem({
    title: "The service cannot be reached",
    detail: "Your files stay in this page and are sent again as soon as the service answers.",
    status: 0,
  });
