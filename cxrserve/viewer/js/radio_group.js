// A radio group: a row of buttons with one tab stop; arrow keys select.
import { element } from "./dom.js";

/**
 * Create a radio group.
 * @template Value
 * @param {string} label for screen readers
 * @param {{value: Value, text: string|Node, title?: string, label?: string}[]} options
 * @param {Value} selected @param {(value: Value) => void} select @param {string} [classes] more classes
 */
export function radioGroup(label, options, selected, select, classes = "") {
  const at = Math.max(
    0,
    options.findIndex((option) => option.value === selected),
  );
  const buttons = options.map((option, index) =>
    element(
      "button",
      {
        type: "button",
        role: "radio",
        "aria-checked": String(option.value === selected),
        "aria-label": option.label,
        "data-value": String(option.value),
        tabindex: index === at ? "0" : "-1",
        title: option.title,
        onclick: () => select(option.value),
      },
      option.text,
    ),
  );
  const node = element("div", {
    class: `radio-group ${classes}`,
    role: "radiogroup",
    "aria-label": label,
  });
  node.append(...buttons);
  node.addEventListener("keydown", (event) => {
    const step = STEPS[event.key];
    if (!step || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    event.stopPropagation();
    select(options[(at + step + options.length) % options.length].value);
  });
  return node;
}

/** @type {Record<string, number>} */
const STEPS = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };

/**
 * Replace the children of `place`; the focus stays on the same control.
 * @param {HTMLElement} place @param {...(Node|string)} children
 */
export function replaceChildren(place, ...children) {
  const focused = place.contains(document.activeElement) ? document.activeElement : null;
  const group = focused?.closest("[role=radiogroup]")?.getAttribute("aria-label");
  const id = focused?.id;
  place.replaceChildren(...children);
  const selector = `[role=radiogroup][aria-label="${CSS.escape(group ?? "")}"] [aria-checked=true]`;
  if (group)
    /** @type {HTMLElement|null} */ (place.querySelector(selector))?.focus();
  else if (id) document.getElementById(id)?.focus();
}
