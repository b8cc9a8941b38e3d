// A service with a door: its token is asked for once, and kept until the tab is closed.
import { byId, element } from "./dom.js";

/** @returns {Promise<string>} */
export function askForToken() {
  const dialog = byId("token");
  const field = element("input", { id: "token-field", type: "password", autocomplete: "off", required: true, "aria-label": "Token" });
  const form = element(
    "form",
    { method: "dialog" },
    element("h2", { id: "token-title" }, "This service asks for a token"),
    element("p", { class: "lead" }, "Whoever runs it can give you one. It stays in this tab and is sent to this service alone."),
    field,
    element("div", { class: "row" }, element("button", { class: "primary", type: "submit" }, "Continue")),
  );
  dialog.replaceChildren(form);
  dialog.addEventListener("cancel", (event) => event.preventDefault());
  return new Promise((resolve) => {
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (!field.value.trim()) return;
      dialog.close();
      resolve(field.value.trim());
    });
    dialog.showModal();
    field.focus();
  });
}
