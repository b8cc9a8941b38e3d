// The overlay as a picture of its own: radiograph, heatmap, numbers, scale, and what it may not be used for.
import { short } from "./dom.js";
import { Geometry } from "./geometry.js";
import { canvas, drawScale } from "./heatmap.js";
import { Painter, paintHeatmap } from "./painter.js";
import { state } from "./store.js";

const LONGEST_SIDE = 2048;
const STRIP = 104;
const [PAPER, INK, FAINT] = ["#121214", "#e8e8eb", "#a6a6ae"];
const FONT = "-apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'DejaVu Sans', sans-serif";

/** @param {import("./film.js").Film} film @returns {HTMLCanvasElement} */
export function drawOverlay(film) {
  const { picture } = film;
  const geometry = new Geometry(picture.width, picture.height, picture.header.aspect);
  geometry.turn = film.turn;
  const [w, h] = film.turn % 2 ? [picture.height * picture.header.aspect, picture.width] : [picture.width, picture.height * picture.header.aspect];
  const zoom = Math.min(1, LONGEST_SIDE / Math.max(w, h));
  const view = { width: Math.round(w * zoom), height: Math.round(h * zoom) };
  const sheet = canvas(Math.max(view.width, 900), view.height + STRIP);
  const image = canvas(view.width, view.height);
  geometry.fit(view);
  const context = image.getContext("2d", { alpha: false });
  new Painter(picture).picturePaint(context, geometry, view, film.look);
  const report = film.answer?.findings.find((each) => each.finding === state.finding);
  const heatmap = report && state.overlay.mode !== "off" ? film.heatmap(state.finding, state.overlay.source) : null;
  if (heatmap) paintHeatmap(context, geometry, view, heatmap, state.overlay);
  const out = sheet.getContext("2d", { alpha: false });
  out.fillStyle = PAPER;
  out.fillRect(0, 0, sheet.width, sheet.height);
  out.drawImage(image, (sheet.width - view.width) / 2, 0);
  writeStrip(out, view.height, film, report, heatmap);
  return sheet;
}

function writeStrip(context, top, film, report, heatmap) {
  const write = (text, x, y, size, colour, align = "left") => {
    Object.assign(context, { font: `${size}px ${FONT}`, fillStyle: colour, textAlign: align });
    context.fillText(text, x, y);
  };
  const right = context.canvas.width - 18;
  const model = film.answer ? `${film.answer.model.name} ${film.answer.model.version}, ${film.answer.model.sha256.slice(0, 16)}` : "";
  if (report) {
    write(`${report.finding}  ${report.probability.toFixed(3)}`, 18, top + 34, 24, INK);
    write(`${report.positive ? "at or above" : "below"} its operating point ${report.threshold.toFixed(3)}  ·  ${model}`, 18, top + 58, 14, FAINT);
  } else write(model, 18, top + 34, 14, FAINT);
  write("Research use only. Not for diagnosis.", 18, top + 86, 14, INK);
  if (!heatmap) return;
  const left = right - 240;
  drawScale(context, left, top + 18, 240, 14, state.overlay.opacity);
  write("0", left, top + 50, 13, FAINT);
  write(short(heatmap.scale / 4), left + 120, top + 50, 13, FAINT, "center");
  write(`≥ ${short(heatmap.scale)}`, right, top + 50, 13, FAINT, "right");
  const whose = state.overlay.source === "ensemble" ? "ensemble" : `scale ${state.overlay.source}`;
  write(`evidence (Grad-CAM, ${whose}), nats`, right, top + 72, 13, FAINT, "right");
}
