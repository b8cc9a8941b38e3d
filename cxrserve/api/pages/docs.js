"use strict";
// Renders /openapi.json. Text is inserted as text, never as markup.

/** @typedef {Record<string, any>} Json part of an OpenAPI document, or an answer of the service */

/** @param {string} id @returns {any} */
const byId = (id) => document.getElementById(id);

/**
 * @template {keyof HTMLElementTagNameMap} Name
 * @param {Name} name @param {...(Node|string)} children @returns {HTMLElementTagNameMap[Name]}
 */
function element(name, ...children) {
  const node = document.createElement(name);
  node.append(...children);
  return node;
}

/** @param {string[]} heads @param {(Node|string)[][]} rows */
function table(heads, rows) {
  const head = element("tr", ...heads.map((text) => element("th", text)));
  const body = rows.map((cells) => element("tr", ...cells.map((cell) => element("td", cell))));
  return element("table", element("thead", head), element("tbody", ...body));
}

/** @param {Json|undefined} schema @returns {string} */
function typeOf(schema) {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.anyOf) return schema.anyOf.map(typeOf).join(" or ");
  if (schema.type === "array") return `list of ${typeOf(schema.items) || "any"}`;
  if (schema.enum) return schema.enum.join(" | ");
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  return [schema.type, schema.format].filter(Boolean).join(", ");
}

/** @param {string} path @param {string} method @param {Json} operation */
function route(path, method, operation) {
  const name = element("span", method.toUpperCase());
  name.className = "method";
  const body = element(
    "details",
    element("summary", name, element("code", path), ` ${operation.summary ?? ""}`),
  );
  body.append(element("p", operation.description ?? ""));
  if (operation.parameters) {
    body.append(
      table(
        ["parameter", "in", "type", "meaning"],
        operation.parameters.map((/** @type {Json} */ parameter) => [
          element("code", parameter.name),
          parameter.in,
          typeOf(parameter.schema),
          parameter.description ?? parameter.schema?.description ?? "",
        ]),
      ),
    );
  }
  if (operation.requestBody) {
    body.append(
      table(
        ["body", "schema"],
        Object.entries(operation.requestBody.content).map(([type, { schema }]) => [
          element("code", type),
          schema.properties
            ? Object.entries(schema.properties)
                .map(([key, value]) => `${key}: ${typeOf(value)}`)
                .join("; ")
            : typeOf(schema),
        ]),
      ),
    );
  }
  body.append(
    table(
      ["status", "meaning", "content"],
      Object.entries(operation.responses).map(([status, response]) => [
        status,
        response.description,
        Object.entries(response.content ?? {})
          .map(([type, { schema }]) => `${type}: ${typeOf(schema)}`)
          .join("; "),
      ]),
    ),
  );
  return body;
}

/** @param {string} name @param {Json} definition */
function schema(name, definition) {
  const body = element(
    "details",
    element("summary", element("code", name), ` ${definition.description ?? ""}`),
  );
  body.id = `schema-${name}`;
  body.append(
    table(
      ["field", "type", "meaning"],
      Object.entries(definition.properties ?? {}).map(([key, value]) => [
        element("code", key),
        typeOf(value),
        value.description ?? "",
      ]),
    ),
  );
  return body;
}

/** @param {Json} answer */
function pictures(answer) {
  return /** @type {Json[]} */ (answer.findings ?? [])
    .filter((finding) => finding.heatmap)
    .map((finding) => {
      const image = element("img");
      image.alt = `Heatmap of ${finding.finding}`;
      image.src = `data:image/png;base64,${finding.heatmap.png}`;
      return element(
        "figure",
        image,
        element("figcaption", `${finding.finding} ${finding.probability.toFixed(3)}`),
      );
    });
}

async function send() {
  const file = byId("file").files[0];
  if (!file) {
    byId("status").textContent = "Choose a file first.";
    return;
  }
  byId("status").textContent = "Waiting …";
  const form = new FormData();
  form.append("file", file, "upload"); // the name of the file is not sent
  try {
    const query = new URLSearchParams({ heatmaps: byId("heatmaps").value });
    const response = await fetch(`/predict?${query}`, {
      method: "POST",
      body: form,
    });
    const answer = await response.json();
    byId("status").textContent = `HTTP ${response.status}`;
    byId("pictures").replaceChildren(...pictures(answer));
    byId("answer").hidden = false;
    byId("answer").textContent = JSON.stringify(
      answer,
      (key, value) => (key === "png" ? `${value.slice(0, 24)}… (${value.length} characters)` : value),
      1,
    );
  } catch (error) {
    byId("status").textContent = String(error);
  }
}

async function show() {
  const openapi = await (await fetch("/openapi.json")).json();
  byId("summary").textContent = `${openapi.info.version}. ${openapi.info.summary ?? ""}`;
  for (const [path, methods] of Object.entries(openapi.paths)) {
    for (const [method, operation] of Object.entries(methods))
      byId("routes").append(route(path, method, operation));
  }
  for (const [name, definition] of Object.entries(openapi.components.schemas)) {
    byId("schemas").append(schema(name, definition));
  }
}

byId("send").addEventListener("click", send);
show();
