// A film: one image that was opened, from its file to its picture and its answer. Its files stay in this page.
import { Problem, askUntilAnswered } from "./api.js";
import { readPicture } from "./picture.js";
import { readHeatmap } from "./heatmap.js";
import { firstLook } from "./window.js";
import { update } from "./store.js";

/** Fires "now" when there is no reason to wait any longer: the user says so, or the network came back. */
export const wake = new EventTarget();
addEventListener("online", () => wake.dispatchEvent(new Event("now")));

const JUDGE = "/predict?heatmaps=all&scales=maps";
let count = 0;

/**
 * @typedef {"idle"|"sending"|"working"|"waiting"|"done"|"failed"} Stage
 * @typedef {{stage: Stage, share: number, problem: Problem|null, retryAt: number}} Task
 */

/** @returns {Task} */
const task = () => ({ stage: "idle", share: 0, problem: null, retryAt: 0 });

export class Film {
  /**
   * @param {string} name shown as text
   * @param {() => Promise<Blob>} file
   * @param {(() => Promise<any>)|null} known an answer that the service has already
   * @param {string|null} study where the archive keeps it
   */
  constructor(name, file, known = null, study = null) {
    this.key = `film-${++count}`;
    this.name = name;
    this.file = file;
    this.known = known;
    this.study = study;
    /** @type {string|null} its SOP Instance UID there */
    this.image = null;
    /** @type {Blob|null} */
    this.blob = null;
    this.shown = task();
    this.judged = task();
    this.mapped = task();
    /** @type {import("./picture.js").Picture|null} */
    this.picture = null;
    /** @type {any} */
    this.answer = null;
    /** @type {import("./window.js").Look|null} how it is shown, and how it was first */
    this.look = this.firstLook = null;
    this.turn = 0;
    this.gone = new AbortController();
    this.maps = new Map();
  }

  /** Have it shown and judged, side by side. What is done already is not done again. */
  start() {
    if (this.shown.stage === "idle" || this.shown.stage === "failed") void this.#run(this.shown, () => this.#show());
    if (this.judged.stage === "idle" || this.judged.stage === "failed") void this.#run(this.judged, () => this.#judge());
  }

  /** Drop it, and whatever is under way for it. */
  close() {
    this.gone.abort(new DOMException("closed", "AbortError"));
    this.picture = this.answer = this.blob = null;
    this.maps.clear();
  }

  /** @returns {Problem|null} why there is no picture, or no answer */
  get problem() {
    return this.shown.stage === "failed" ? this.shown.problem : this.judged.stage === "failed" ? this.judged.problem : null;
  }

  /**
   * The heatmap of a finding: the ensemble's, or what one scale brings to it.
   * @param {string} finding @param {"ensemble"|number} source
   * @returns {import("./heatmap.js").Heatmap|null} null while it is being read, or where there is none
   */
  heatmap(finding, source) {
    const report = this.answer?.findings.find((each) => each.finding === finding);
    const found = source === "ensemble" ? report?.heatmap : report?.scales.find((each) => each.size === source)?.heatmap;
    if (!found) {
      if (report && this.known && this.mapped.stage === "idle") void this.#run(this.mapped, () => this.#map());
      return null;
    }
    const key = `${finding}/${source}`;
    if (!this.maps.has(key)) {
      this.maps.set(key, null);
      void readHeatmap(found).then((map) => {
        this.maps.set(key, map);
        update();
      });
    }
    return this.maps.get(key);
  }

  async #run(progress, work) {
    Object.assign(progress, task(), { stage: "sending" });
    update();
    try {
      await work();
      progress.stage = "done";
    } catch (error) {
      if (this.gone.signal.aborted) return;
      progress.stage = "failed";
      progress.problem = error instanceof Problem ? error : unexpected(error);
    }
    update();
  }

  #post(path, as, progress) {
    const onSent = (share) => {
      Object.assign(progress, { stage: share < 1 ? "sending" : "working", share, problem: null });
      update();
    };
    const onWait = (problem, seconds) => {
      Object.assign(progress, { stage: "waiting", problem, retryAt: Date.now() + seconds * 1000 });
      update();
    };
    const options = { method: "POST", body: this.blob, as, onSent, signal: this.gone.signal };
    return askUntilAnswered(path, options, { onWait, wake });
  }

  /** A stored answer holds few maps: the others are made when they are wanted, by the same model alone. */
  async #map() {
    await this.#load();
    const { body } = await this.#post(JUDGE, "json", this.mapped);
    if (body.model.sha256 !== this.answer.model.sha256) {
      throw new Problem({ title: "Another model serves now", detail: "The stored answer is another model’s; the maps it did not keep cannot be made any more.", status: 410 });
    }
    this.answer = { ...this.answer, findings: body.findings };
  }

  async #load() {
    this.loading ??= this.file().finally(() => (this.loading = null));
    this.blob ??= await this.loading;
  }

  async #show() {
    await this.#load();
    const { body } = await this.#post("/display", "bytes", this.shown);
    this.picture = readPicture(body);
    this.firstLook = firstLook(this.picture);
    this.look ??= this.firstLook;
  }

  async #judge() {
    if (this.known) {
      this.judged.stage = "working";
      this.answer = await this.known();
      if (this.answer) return;
    }
    await this.#load();
    const { body } = await this.#post(JUDGE, "json", this.judged);
    this.answer = body;
  }
}

const unexpected = (error) =>
  new Problem({
    title: "This page failed",
    detail: `${error instanceof Error ? error.message : error}. Reload it; if that stays so, report it.`,
    status: -1,
  });
