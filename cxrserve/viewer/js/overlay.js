// Draws the overlay for export: radiograph, heatmap, numbers, colour scale, disclaimer.
import { context2d, short } from "./dom.js";
import { Geometry } from "./geometry.js";
import { canvas, drawnValue, drawScale } from "./heatmap.js";
import { Painter, paintHeatmap } from "./painter.js";
import { state } from "./store.js";

const MAX_SIDE = 2048;
const STRIP = 104;
const [PAPER, INK, FAINT] = ["#121214", "#e8e8eb", "#a6a6ae"];
const FONT = "-apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'DejaVu Sans', sans-serif";

/** Draw the overlay. @param {import("./radiograph.js").Radiograph} radiograph @returns {HTMLCanvasElement} */
export function drawOverlay(radiograph) {
  const { picture, look } = radiograph;
  if (!picture || !look) throw new Error("the image is not displayed yet.");
  const geometry = new Geometry(picture.width, picture.height, picture.header.aspect);
  geometry.turn = radiograph.turn;
  const [w, h] =
    radiograph.turn % 2
      ? [picture.height * picture.header.aspect, picture.width]
      : [picture.width, picture.height * picture.header.aspect];
  const zoom = Math.min(1, MAX_SIDE / Math.max(w, h));
  const view = { width: Math.round(w * zoom), height: Math.round(h * zoom) };
  const sheet = canvas(Math.max(view.width, 900), view.height + STRIP);
  const image = canvas(view.width, view.height);
  geometry.fit(view);
  const context = context2d(image, { alpha: false });
  new Painter(picture).paint(context, geometry, view, look);
  const report = radiograph.answer?.findings.find((row) => row.finding === state.finding);
  const heatmap =
    report && state.overlay.mode !== "off" ? radiograph.heatmap(report.finding, state.overlay.source) : null;
  if (heatmap) paintHeatmap(context, geometry, view, heatmap, state.overlay);
  const out = context2d(sheet, { alpha: false });
  out.fillStyle = PAPER;
  out.fillRect(0, 0, sheet.width, sheet.height);
  out.drawImage(image, (sheet.width - view.width) / 2, 0);
  writeStrip(out, view.height, radiograph, report, heatmap);
  return sheet;
}

/**
 * @param {CanvasRenderingContext2D} context @param {number} top @param {import("./radiograph.js").Radiograph} radiograph
 * @param {import("./types.d.ts").FindingReport|undefined} report @param {import("./heatmap.js").Heatmap|null} heatmap
 */
function writeStrip(context, top, radiograph, report, heatmap) {
  /**
   * @param {string} text @param {number} x @param {number} y @param {number} size @param {string} colour
   * @param {CanvasTextAlign} [align]
   */
  const write = (text, x, y, size, colour, align = "left") => {
    Object.assign(context, {
      font: `${size}px ${FONT}`,
      fillStyle: colour,
      textAlign: align,
    });
    context.fillText(text, x, y);
  };
  const right = context.canvas.width - 18;
  const model = radiograph.answer
    ? `${radiograph.answer.model.name} ${radiograph.answer.model.version}, ${radiograph.answer.model.sha256.slice(0, 16)}`
    : "";
  if (report && report.probability !== null && report.threshold !== null) {
    write(`${report.finding}  ${report.probability.toFixed(3)}`, 18, top + 34, 24, INK);
    write(
      `${report.positive ? "at or above" : "below"} its operating point ${report.threshold.toFixed(3)}  ·  ${model}`,
      18,
      top + 58,
      14,
      FAINT,
    );
  } else write(model, 18, top + 34, 14, FAINT);
  write("Research use only. Not for diagnosis.", 18, top + 86, 14, INK);
  if (!heatmap) return;
  const left = right - 240;
  drawScale(context, left, top + 18, 240, 14, state.overlay.opacity);
  write("0", left, top + 50, 13, FAINT);
  write(short(drawnValue(heatmap, 0.5)), left + 120, top + 50, 13, FAINT, "center");
  write(`≥ ${short(heatmap.scale)}`, right, top + 50, 13, FAINT, "right");
  const source = state.overlay.source === "ensemble" ? "ensemble" : `scale ${state.overlay.source}`;
  write(`evidence (Grad-CAM, ${source}), nats`, right, top + 72, 13, FAINT, "right");
}
