// One of several, as a row of radio buttons with one tab stop; arrow keys move.
import { element } from "./dom.js";

/**
 * @param {string} label for screen readers
 * @param {{value: any, text: string|Node, title?: string, label?: string}[]} options
 * @param {any} chosen @param {(value: any) => void} choose @param {string} [kind] more classes
 */
export function choice(label, options, chosen, choose, kind = "") {
  const at = Math.max(0, options.findIndex((option) => option.value === chosen));
  const buttons = options.map((option, index) =>
    element(
      "button",
      {
        type: "button",
        role: "radio",
        "aria-checked": String(option.value === chosen),
        "aria-label": option.label,
        "data-value": String(option.value),
        tabindex: index === at ? "0" : "-1",
        title: option.title,
        onclick: () => choose(option.value),
      },
      option.text,
    ),
  );
  const node = element("div", { class: `choice ${kind}`, role: "radiogroup", "aria-label": label });
  node.append(...buttons);
  node.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    event.stopPropagation();
    choose(options[(at + step + options.length) % options.length].value);
  });
  return node;
}

/** Put `fresh` into `place`, the focus staying on the same kind of control, and with it the user. */
export function replaced(place, ...fresh) {
  const focused = place.contains(document.activeElement) ? document.activeElement : null;
  const group = focused?.closest("[role=radiogroup]")?.getAttribute("aria-label");
  const id = focused?.id;
  place.replaceChildren(...fresh);
  if (group) place.querySelector(`[role=radiogroup][aria-label="${CSS.escape(group)}"] [aria-checked=true]`)?.focus();
  else if (id) document.getElementById(id)?.focus();
}
