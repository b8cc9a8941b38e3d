// Asks the user to sign in or, on a service without single sign-on, for a bearer token.
import { byId, element } from "./dom.js";
import { about, askToSignIn } from "./login.js";

/** Show the dialog; resolves with the token, or with "" where a session takes its place. @returns {Promise<string>} */
export async function askForToken() {
  const dialog = byId("token");
  dialog.addEventListener("cancel", (/** @type {Event} */ event) => event.preventDefault());
  if (!(await about()).login) return askForBearer(dialog);
  await askToSignIn(dialog);
  return "";
}

/** @param {HTMLDialogElement} dialog @returns {Promise<string>} */
function askForBearer(dialog) {
  const field = element("input", {
    id: "token-field",
    type: "password",
    autocomplete: "off",
    required: true,
    "aria-label": "Token",
  });
  const form = element(
    "form",
    { method: "dialog" },
    element("h2", { id: "token-title" }, "This service needs a token"),
    element(
      "p",
      { class: "lead" },
      "Ask the administrator of the service for it. The token stays in this tab and is sent only to this service.",
    ),
    field,
    element("div", { class: "row" }, element("button", { class: "primary", type: "submit" }, "Continue")),
  );
  dialog.replaceChildren(form);
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
