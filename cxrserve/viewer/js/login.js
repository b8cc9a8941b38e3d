// Single sign-on: the way to the identity provider and back, the user's name, and signing out.
import { Problem, ask } from "./api.js";
import { element } from "./dom.js";
import { state } from "./store.js";

const RETURN = "cxrserve.return";

/** @typedef {{worklist: boolean, login: boolean, user: string}} About */

/** The abilities of the service, and the user who has signed in. @returns {Promise<About>} */
export async function about() {
  return (await ask("/viewer/about")).body;
}

/** Go to the address that the page had before the user signed in. True if the page is left. */
export function resume() {
  const address = sessionStorage.getItem(RETURN);
  sessionStorage.removeItem(RETURN);
  if (!address || !/^\/(?!\/)/.test(address)) return false;
  if (address === location.pathname + location.search) return false;
  location.replace(address);
  return true;
}

/**
 * Show the way to the identity provider. Open images stay: then the user signs in in another window, and
 * continues here. Without any, this page is left.
 * @param {HTMLDialogElement} dialog @returns {Promise<void>}
 */
export function askToSignIn(dialog) {
  const keep = state.radiographs.length > 0;
  const link = element(
    "a",
    {
      class: "primary",
      href: "/login",
      target: keep ? "_blank" : null,
      rel: keep ? "noopener" : null,
      onclick: () => keep || sessionStorage.setItem(RETURN, location.pathname + location.search),
    },
    "Sign in",
  );
  const form = element(
    "form",
    { method: "dialog" },
    element("h2", { id: "token-title" }, "Sign in to use this service"),
    element(
      "p",
      { class: "lead" },
      keep
        ? "Your session has ended. Sign in in the new window, then continue here: your images stay open."
        : "You sign in at your organisation’s identity provider and come back to this page.",
    ),
    element(
      "div",
      { class: "row" },
      link,
      keep ? element("button", { class: "quiet", type: "submit" }, "Continue") : null,
    ),
  );
  dialog.replaceChildren(form);
  return new Promise((resolve) => {
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      dialog.close();
      resolve();
    });
    dialog.showModal();
    link.focus();
  });
}

/** Show the user's name in the page's head, and the button that signs out. */
export async function showUser() {
  const { login, user } = await about().catch(unknown);
  if (!login || !user) return;
  const button = element(
    "button",
    { id: "sign-out", class: "quiet", type: "button", onclick: signOut },
    "Sign out",
  );
  document
    .querySelector("nav.top-links")
    ?.append(element("span", { id: "user", class: "wide-only" }, user), button);
}

/** Without an answer, nobody is shown. @param {unknown} problem @returns {About} */
function unknown(problem) {
  if (!(problem instanceof Problem)) throw problem;
  return { worklist: false, login: false, user: "" };
}

async function signOut() {
  const { body } = await ask("/logout", { method: "POST" });
  location.assign(body.url || "/");
}
