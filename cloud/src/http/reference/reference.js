// Draws the API document as a page: groups, operations, parameters, bodies.
// Text from the document is only ever set as text.
const el = (tag, props = {}, ...children) => {
  const node = Object.assign(document.createElement(tag), props);
  node.append(...children.filter((c) => c != null));
  return node;
};

const name = (ref) => ref.split('/').pop();

// A schema as a short example-like outline, with references followed once.
const outline = (schema, api, seen = []) => {
  if (!schema) return null;
  if (schema.$ref) {
    const key = name(schema.$ref);
    if (seen.includes(key)) return `<${key}>`;
    return outline(api.components?.schemas?.[key], api, [...seen, key]);
  }
  const many = schema.oneOf ?? schema.anyOf;
  if (many) {
    const real = many.filter((s) => s.type !== 'null');
    return real.length === 1 ? outline(real[0], api, seen) : real.map((s) => outline(s, api, seen));
  }
  if (schema.allOf) return Object.assign({}, ...schema.allOf.map((s) => outline(s, api, seen)));
  if (schema.enum) return schema.enum.join(' | ');
  const type = [].concat(schema.type ?? 'any').filter((t) => t !== 'null').join(' | ');
  if (type === 'array') return [outline(schema.items, api, seen)];
  if (schema.properties) {
    return Object.fromEntries(Object.entries(schema.properties).map(([k, v]) => [k, outline(v, api, seen)]));
  }
  return schema.format ? `${type} (${schema.format})` : type;
};

const body = (content, api) => {
  const [media, value] = Object.entries(content ?? {})[0] ?? [];
  if (!value?.schema) return null;
  return el('div', {}, el('p', {}, el('code', { textContent: media })),
    el('pre', { textContent: JSON.stringify(outline(value.schema, api), null, 2) }));
};

const operation = (api, path, method, op) => {
  const head = el('summary', {}, el('span', { className: 'method', textContent: method.toUpperCase() }),
    el('span', { className: 'path', textContent: path }), ` ${op.summary ?? ''}`);
  const rows = (op.parameters ?? []).map((p) => el('tr', {},
    el('td', {}, el('code', { textContent: p.name })),
    el('td', { textContent: p.in + (p.required ? ', required' : '') }),
    el('td', { textContent: p.description ?? '' })));
  const answers = Object.entries(op.responses ?? {}).map(([status, r]) => el('div', {},
    el('h4', { textContent: `${status} ${r.description ?? ''}` }), body(r.content, api)));
  const part = el('details', {}, head,
    op.description ? el('p', { textContent: op.description }) : null,
    rows.length ? el('table', {}, ...rows) : null,
    op.requestBody ? el('div', {}, el('h4', { textContent: 'Body' }), body(op.requestBody.content, api)) : null,
    ...answers);
  part.dataset.text = `${method} ${path} ${op.summary ?? ''} ${op.description ?? ''}`.toLowerCase();
  return part;
};

const draw = (api) => {
  const groups = new Map();
  for (const [path, item] of Object.entries(api.paths)) {
    for (const [method, op] of Object.entries(item)) {
      if (!op?.responses) continue;
      const tag = op.tags?.[0] ?? 'other';
      if (!groups.has(tag)) groups.set(tag, []);
      groups.get(tag).push(operation(api, path, method, op));
    }
  }
  const main = document.getElementById('main');
  main.replaceChildren(...[...groups].map(([tag, parts]) =>
    el('section', { id: tag }, el('h2', { textContent: tag }), ...parts)));
  document.getElementById('index').replaceChildren(...[...groups.keys()].map((tag) =>
    el('a', { href: `#${tag}`, textContent: tag })));
  document.getElementById('find').addEventListener('input', (event) => {
    const wanted = event.target.value.toLowerCase();
    for (const part of main.querySelectorAll('details')) part.hidden = !part.dataset.text.includes(wanted);
  });
};

fetch('/api/v1/openapi.json')
  .then((answer) => answer.json())
  .then(draw)
  .catch((error) => { document.getElementById('main').textContent = `The document could not be read: ${error}`; });
