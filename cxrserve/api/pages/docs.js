"use strict";
// Renders /openapi.json. Text goes in as text, never as markup.

const byId = (id) => document.getElementById(id);

function element(name, ...children) {
  const made = document.createElement(name);
  made.append(...children);
  return made;
}

function table(heads, rows) {
  const head = element("tr", ...heads.map((text) => element("th", text)));
  const body = rows.map((cells) => element("tr", ...cells.map((cell) => element("td", cell))));
  return element("table", element("thead", head), element("tbody", ...body));
}

function typeOf(schema) {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.anyOf) return schema.anyOf.map(typeOf).join(" or ");
  if (schema.type === "array") return `list of ${typeOf(schema.items) || "any"}`;
  if (schema.enum) return schema.enum.join(" | ");
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  return [schema.type, schema.format].filter(Boolean).join(", ");
}

function route(path, method, operation) {
  const name = element("span", method.toUpperCase());
  name.className = "method";
  const body = element("details", element("summary", name, element("code", path), ` ${operation.summary ?? ""}`));
  body.append(element("p", operation.description ?? ""));
  if (operation.parameters) {
    body.append(table(["parameter", "in", "type", "meaning"], operation.parameters.map((each) =>
      [element("code", each.name), each.in, typeOf(each.schema), each.description ?? each.schema?.description ?? ""])));
  }
  if (operation.requestBody) {
    body.append(table(["body", "schema"], Object.entries(operation.requestBody.content).map(([type, { schema }]) =>
      [element("code", type), schema.properties
        ? Object.entries(schema.properties).map(([key, value]) => `${key}: ${typeOf(value)}`).join("; ")
        : typeOf(schema)])));
  }
  body.append(table(["status", "meaning", "content"], Object.entries(operation.responses).map(([status, response]) =>
    [status, response.description, Object.entries(response.content ?? {}).map(([type, { schema }]) =>
      `${type}: ${typeOf(schema)}`).join("; ")])));
  return body;
}

function schema(name, definition) {
  const body = element("details", element("summary", element("code", name), ` ${definition.description ?? ""}`));
  body.id = `schema-${name}`;
  body.append(table(["field", "type", "meaning"], Object.entries(definition.properties ?? {}).map(([key, value]) =>
    [element("code", key), typeOf(value), value.description ?? ""])));
  return body;
}

function pictures(answer) {
  return (answer.findings ?? []).filter((each) => each.heatmap).map((each) => {
    const image = element("img");
    image.alt = `Heatmap of ${each.finding}`;
    image.src = `data:image/png;base64,${each.heatmap.png}`;
    return element("figure", image, element("figcaption", `${each.finding} ${each.probability.toFixed(3)}`));
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
  form.append("file", file, "upload"); // the name of the file stays here
  try {
    const query = new URLSearchParams({ heatmaps: byId("heatmaps").value });
    const response = await fetch(`/predict?${query}`, { method: "POST", body: form });
    const answer = await response.json();
    byId("status").textContent = `HTTP ${response.status}`;
    byId("pictures").replaceChildren(...pictures(answer));
    byId("answer").hidden = false;
    byId("answer").textContent = JSON.stringify(answer, (key, value) =>
      key === "png" ? `${value.slice(0, 24)}… (${value.length} characters)` : value, 1);
  } catch (error) {
    byId("status").textContent = String(error);
  }
}

async function show() {
  const openapi = await (await fetch("/openapi.json")).json();
  byId("summary").textContent = `${openapi.info.version}. ${openapi.info.summary ?? ""}`;
  for (const [path, methods] of Object.entries(openapi.paths)) {
    for (const [method, operation] of Object.entries(methods)) byId("routes").append(route(path, method, operation));
  }
  for (const [name, definition] of Object.entries(openapi.components.schemas)) {
    byId("schemas").append(schema(name, definition));
  }
}

byId("send").addEventListener("click", send);
show();
