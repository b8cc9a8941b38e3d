"use strict";
// Shows /openapi.json with Swagger UI, if the installation has it.

/** Make Swagger UI dark where the page is. */
function follow() {
  const root = document.documentElement;
  root.classList.toggle("dark-mode", root.dataset.theme === "dark");
}

/** Do what Swagger UI leaves undone for the keyboard and for screen readers: name fields, reach what scrolls. */
function complete() {
  for (const field of document.querySelectorAll(
    "#swagger-ui :is(input, select, textarea):not([aria-label], [id])",
  )) {
    const row = field.closest("[data-param-name], [data-property-name]");
    if (row instanceof HTMLElement)
      field.setAttribute("aria-label", row.dataset.paramName ?? row.dataset.propertyName ?? "");
    else if (field.matches(".examples-select-element")) field.setAttribute("aria-label", "Example");
  }
  for (const text of document.querySelectorAll("#swagger-ui pre.microlight:not([tabindex])"))
    text.setAttribute("tabindex", "0");
}

/** @type {any} */
const { SwaggerUIBundle } = window;

follow();
new MutationObserver(follow).observe(document.documentElement, { attributeFilter: ["data-theme"] });
if (SwaggerUIBundle) {
  new MutationObserver(complete).observe(document.body, { childList: true, subtree: true });
  SwaggerUIBundle({
    url: "/openapi.json",
    dom_id: "#swagger-ui",
    deepLinking: true,
    displayRequestDuration: true,
    defaultModelsExpandDepth: 0,
    persistAuthorization: false, // the token is forgotten with the page
    queryConfigEnabled: false, // the address of this page cannot make it show another document
    syntaxHighlight: { theme: "obsidian" },
    validatorUrl: null, // asks no other host
  });
}
