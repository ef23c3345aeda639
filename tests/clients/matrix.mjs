// Prints client x flow from the outcomes of a run, and fails if a cell has failed, or is not there where flows.json wants it.

import { readFileSync } from 'node:fs';
import { flows } from './flows.mjs';

export const columns = [
  'msal-node AAD',
  'msal-node OIDC',
  'msal-browser AAD',
  'msal-browser OIDC',
  'msal-python AAD',
  'msal-python OIDC',
  'openid-client',
  'oauth4webapi',
  'passport',
  'graph-client',
];
const words = { ok: 'ok', refused: 'refused', failed: 'FAILED', begun: 'NO END', missing: 'MISSING' };

// A name without its mode stands for both columns.
const wanted = (row, client) => row.clients.some((name) => client === name || client.startsWith(`${name} `));

const cells = new Map();
for (const line of readFileSync(process.argv[2], 'utf8').split('\n').filter(Boolean)) {
  const { client, flow, outcome } = JSON.parse(line);
  cells.set(`${client}\0${flow}`, outcome);
}
for (const row of flows) {
  for (const client of columns) {
    const key = `${client}\0${row.id}`;
    if (wanted(row, client) && !cells.has(key)) cells.set(key, 'missing');
  }
}
const surplus = [...cells.keys()]
  .map((key) => key.split('\0'))
  .filter(([client, flow]) => !columns.includes(client) || !wanted(flows.find(({ id }) => id === flow), client));

const table = [
  ['flow', ...columns],
  ...flows.map(({ id, words: row }) => [row, ...columns.map((client) => words[cells.get(`${client}\0${id}`)] ?? '-')]),
];
const widths = table[0].map((_, column) => Math.max(...table.map((row) => row[column].length)));
const print = (row) => console.log(row.map((cell, column) => cell.padEnd(widths[column])).join(' | ').trimEnd());
print(table[0]);
console.log(widths.map((width) => '-'.repeat(width)).join('-|-'));
table.slice(1).forEach(print);

const count = (...outcomes) => [...cells.values()].filter((outcome) => outcomes.includes(outcome)).length;
const failed = count('failed', 'begun', 'missing');
console.log(
  `\nclients: ${columns.length}, cells: ${cells.size}, ok: ${count('ok')}, ` +
    `refused as they should be: ${count('refused')}, failed: ${failed}`,
);
for (const [client, flow] of surplus) console.log(`flows.json does not want ${flow} of ${client}`);
process.exitCode = failed || surplus.length ? 1 : 0;
