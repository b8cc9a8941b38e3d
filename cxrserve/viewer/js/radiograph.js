// An open radiograph: its picture, its answer, and its file, which stays in this page. An image of the archive has no
// file here: the service displays and analyses its own.
import { Problem, askUntilAnswered } from "./api.js";
import { readPicture } from "./picture.js";
import { readHeatmap } from "./heatmap.js";
import { firstLook } from "./window.js";
import { update } from "./store.js";

/** Fires "now" to end a wait: the user asks for it, or the network is back. */
export const wake = new EventTarget();
addEventListener("online", () => wake.dispatchEvent(new Event("now")));

const UPLOAD_GONE = 410;
const PREDICT = "/predict?heatmaps=all&scales=maps";
let count = 0;

/**
 * @typedef {"idle"|"sending"|"working"|"waiting"|"done"|"failed"} Stage
 * @typedef {{stage: Stage, share: number, problem: Problem|null, retryAt: number}} Task
 */

/** @returns {Task} */
const task = () => ({ stage: "idle", share: 0, problem: null, retryAt: 0 });

/** @typedef {{study: string, image: string, isDone: boolean}} Archived its Study and SOP Instance UID in the archive */

/** One open radiograph. Its file is sent for display; the request for its answer names that upload. */
export class Radiograph {
  /**
   * @param {string} name shown as text
   * @param {(() => Promise<Blob>)|Archived} source its file, or where it lies in the archive
   */
  constructor(name, source) {
    this.key = `radiograph-${++count}`;
    this.name = name;
    this.file = typeof source === "function" ? source : null;
    this.archived = typeof source === "function" ? null : source;
    this.study = this.archived?.study ?? null;
    this.image = this.archived?.image ?? null;
    /** @type {Blob|null} */
    this.blob = null;
    this.display = task();
    this.prediction = task();
    this.heatmaps = task();
    /** @type {Promise<Blob>|null} */
    this.loading = null;
    /** @type {import("./picture.js").Picture|null} */
    this.picture = null;
    /** @type {import("./types.d.ts").Answer|null} */
    this.answer = null;
    /** @type {import("./window.js").Look|null} */
    this.look = null;
    /** @type {import("./window.js").Look|null} as it was first shown */
    this.firstLook = null;
    this.turn = 0;
    this.closed = new AbortController();
    /** @type {Promise<string|null>} the service's name for the file that was sent for display, if it holds it */
    this.upload = Promise.resolve(null);
    /** @type {Map<string, import("./heatmap.js").Heatmap|null>} */
    this.maps = new Map();
  }

  /** Request picture and answer. Finished requests are not repeated. */
  start() {
    if (this.display.stage === "idle" || this.display.stage === "failed") {
      this.upload = new Promise((resolve) => {
        void this.#run(this.display, () => this.#display(resolve)).finally(() => resolve(null));
      });
    }
    if (this.prediction.stage === "idle" || this.prediction.stage === "failed")
      void this.#run(this.prediction, () => this.#predict());
  }

  /** Cancel its requests and free its memory. */
  close() {
    this.closed.abort(new DOMException("closed", "AbortError"));
    this.picture = this.answer = this.blob = null;
    this.maps.clear();
  }

  /** The problem that prevents the picture or the answer. @returns {Problem|null} */
  get problem() {
    return this.display.stage === "failed"
      ? this.display.problem
      : this.prediction.stage === "failed"
        ? this.prediction.problem
        : null;
  }

  /**
   * The heatmap of a finding: the ensemble's, or the contribution of one scale.
   * @param {string} finding @param {"ensemble"|number} source
   * @returns {import("./heatmap.js").Heatmap|null} null while it is being decoded, or if there is none
   */
  heatmap(finding, source) {
    const report = this.answer?.findings.find((each) => each.finding === finding);
    const heatmap =
      source === "ensemble" ? report?.heatmap : report?.scales.find((each) => each.size === source)?.heatmap;
    if (!heatmap) {
      if (report && this.archived && this.heatmaps.stage === "idle")
        void this.#run(this.heatmaps, () => this.#loadHeatmaps());
      return null;
    }
    const key = `${finding}/${source}`;
    if (!this.maps.has(key)) {
      this.maps.set(key, null);
      void readHeatmap(heatmap).then((map) => {
        this.maps.set(key, map);
        update();
      });
    }
    return this.maps.get(key) ?? null;
  }

  /** @param {Task} progress @param {() => Promise<void>} work */
  async #run(progress, work) {
    Object.assign(progress, task(), { stage: "sending" });
    update();
    try {
      await work();
      progress.stage = "done";
    } catch (error) {
      if (this.closed.signal.aborted) return;
      progress.stage = "failed";
      progress.problem = error instanceof Problem ? error : unexpected(error);
    }
    update();
  }

  /**
   * @param {string} path @param {"json"|"bytes"} as @param {Task} progress
   * @param {import("./api.js").Options} [more]
   */
  #post(path, as, progress, more = {}) {
    /** @param {number} share */
    const onSent = (share) => {
      Object.assign(progress, {
        stage: share < 1 ? "sending" : "working",
        share,
        problem: null,
      });
      update();
    };
    /** @param {Problem} problem @param {number} seconds */
    const onWait = (problem, seconds) => {
      Object.assign(progress, {
        stage: "waiting",
        problem,
        retryAt: Date.now() + seconds * 1000,
      });
      update();
    };
    /** @type {import("./api.js").Options} */
    const options = {
      method: "POST",
      body: this.blob,
      as,
      onSent,
      signal: this.closed.signal,
      ...more,
    };
    return askUntilAnswered(path, options, { onWait, wake });
  }

  /** A stored answer has few heatmaps; request the others when needed, if the model is still the same. */
  async #loadHeatmaps() {
    const { body } = await this.#post(`${this.#place}${PREDICT}`, "json", this.heatmaps);
    if (!this.answer) return;
    if (body.model.sha256 !== this.answer.model.sha256) {
      throw new Problem({
        title: "The model has changed",
        detail: "The stored answer is from another model, so its missing heatmaps cannot be computed.",
        status: 410,
      });
    }
    this.answer = { ...this.answer, findings: body.findings };
  }

  /** The path of an image of the archive; empty for a file of this page. */
  get #place() {
    return this.archived ? `/studies/${this.archived.study}/images/${this.archived.image}` : "";
  }

  async #load() {
    if (!this.file) return;
    this.loading ??= this.file().finally(() => (this.loading = null));
    const blob = await this.loading;
    try {
      await blob.slice(0, 1).arrayBuffer(); // fails for a folder, and for a file that was moved or changed
    } catch {
      throw new Problem({
        title: "The file cannot be read",
        detail: "It is a folder, or it was moved, changed or removed. Open it again.",
        status: 400,
      });
    }
    this.blob ??= blob;
  }

  /** @param {(upload: string|null) => void} onUpload called as soon as the service has the file */
  async #display(onUpload) {
    await this.#load();
    const { body } = this.archived
      ? await this.#post(`${this.#place}/display`, "bytes", this.display, { method: "GET" })
      : await this.#post("/display?keep=true", "bytes", this.display, {
          onHead: (header) => onUpload(header("X-Upload")),
        });
    this.picture = readPicture(body);
    this.firstLook = firstLook(this.picture);
    this.look ??= this.firstLook;
  }

  async #predict() {
    if (this.archived) return this.#predictArchived(this.archived);
    await this.#load();
    const { body } = (await this.#predictUpload()) ?? (await this.#post(PREDICT, "json", this.prediction));
    this.answer = body;
  }

  /** The stored answer, or a prediction of an image that waits for one. @param {Archived} archived */
  async #predictArchived({ isDone }) {
    this.prediction.stage = "working";
    const { body } = isDone
      ? await this.#post(`${this.#place}/answer`, "json", this.prediction, { method: "GET" })
      : await this.#post(`${this.#place}${PREDICT}`, "json", this.prediction);
    this.answer = body;
  }

  /** The answer about the file that was sent for display; null where the service does not hold it any more. */
  async #predictUpload() {
    const upload = await this.upload;
    if (!upload) return null;
    try {
      return await this.#post(`${PREDICT}&upload=${upload}`, "json", this.prediction, { body: null });
    } catch (problem) {
      if (problem instanceof Problem && problem.status === UPLOAD_GONE) return null;
      throw problem;
    }
  }
}

/** @param {unknown} error */
const unexpected = (error) =>
  new Problem({
    title: "This page has an error",
    detail: `${error instanceof Error ? error.message : error}. Reload it; if that stays so, report it.`,
    status: -1,
  });
