"use strict";
// Shows /openapi.json. Everything is set as text: nothing in the document can become markup.

function element(name, attributes, ...children) {
  const made = document.createElement(name);
  Object.assign(made, attributes);
  made.append(...children);
  return made;
}

function typeOf(schema) {
  if (!schema) return "";
  if (schema.$ref) {
    const name = schema.$ref.split("/").pop();
    return element("a", { href: "#schema-" + name, textContent: name });
  }
  const kinds = schema.anyOf || schema.oneOf;
  if (kinds) return join(kinds.filter(one => one.type !== "null").map(typeOf));
  if (schema.const) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map(one => JSON.stringify(one)).join(" | ");
  if (schema.type === "array") return join(["list of ", typeOf(schema.items)], "");
  return [schema.type, schema.format].filter(Boolean).join(", ");
}

function join(parts, between = " | ") {
  const found = element("span", {});
  parts.forEach((part, index) => found.append(index ? between : "", part));
  return found;
}

function limitsOf(schema) {
  const names = ["minLength", "maxLength", "minimum", "maximum", "pattern", "default"];
  const found = [schema, ...(schema.anyOf || [])];
  return found.flatMap(one => names.filter(name => one[name] !== undefined && one[name] !== null)
    .map(name => name + " " + JSON.stringify(one[name]))).join(", ");
}

function fields(rows) {
  const table = element("table", {});
  for (const [name, schema, required] of rows) {
    table.append(element("tr", {},
      element("td", {}, element("code", { textContent: name + (required ? " *" : "") })),
      element("td", {}, typeOf(schema)),
      element("td", { className: "note", textContent:
        [schema.description, limitsOf(schema)].filter(Boolean).join(" · ") })));
  }
  return table;
}

function operation(path, method, found) {
  const box = element("details", {}, element("summary", {},
    element("code", { className: "method", textContent: method.toUpperCase() }),
    element("code", { textContent: path }), " ", found.summary || ""));
  if (found.security) box.append(element("p", { className: "note", textContent: "Needs a token." }));
  if (found.parameters) {
    box.append(element("h4", { textContent: "Parameters" }),
      fields(found.parameters.map(one => [one.name + " (" + one.in + ")", one.schema, one.required])));
  }
  if (found.requestBody) {
    const schema = found.requestBody.content["application/json"].schema;
    box.append(element("h4", {}, "Body: ", typeOf(schema)));
  }
  const table = element("table", {});
  for (const [status, answer] of Object.entries(found.responses)) {
    const kinds = Object.entries(answer.content || {}).map(([type, content]) =>
      join([type + ": ", typeOf(content["x-event-schema"] || content.schema)], ""));
    table.append(element("tr", {}, element("td", {}, element("code", { textContent: status })),
      element("td", { textContent: answer.description }), element("td", {}, join(kinds, "; "))));
  }
  box.append(element("h4", { textContent: "Answers" }), table);
  return box;
}

function show(api) {
  document.title = api.info.title + " API";
  document.getElementById("title").textContent = api.info.title + " " + api.info.version;
  document.getElementById("description").textContent = api.info.description || "";
  const main = document.getElementById("operations");
  const contents = document.getElementById("contents");
  main.replaceChildren();
  const tags = new Map();
  for (const [path, methods] of Object.entries(api.paths)) {
    for (const [method, found] of Object.entries(methods)) {
      const tag = found.tags[0];
      if (!tags.has(tag)) {
        tags.set(tag, element("section", { id: tag }, element("h2", { textContent: tag })));
        contents.append(element("a", { href: "#" + tag, textContent: tag }));
      }
      tags.get(tag).append(operation(path, method, found));
    }
  }
  main.append(...tags.values());
  const schemas = document.getElementById("schemas");
  schemas.append(element("h2", { textContent: "schemas" }));
  contents.append(element("a", { href: "#schemas", textContent: "schemas" }));
  for (const [name, schema] of Object.entries(api.components.schemas)) {
    const required = new Set(schema.required || []);
    schemas.append(element("details", { id: "schema-" + name, open: true },
      element("summary", {}, element("code", { textContent: name }), " ",
        element("span", { className: "note", textContent: schema.description || "" })),
      schema.properties
        ? fields(Object.entries(schema.properties).map(([field, one]) => [field, one, required.has(field)]))
        : element("p", {}, typeOf(schema))));
  }
}

fetch("/openapi.json").then(answer => answer.json()).then(show).catch(error => {
  document.getElementById("operations").textContent = "openapi.json can't be read: " + error;
});
