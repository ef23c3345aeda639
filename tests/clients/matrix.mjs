// Prints client x flow from the outcomes of a run, and fails if a cell has failed or a client is missing.

import { readFileSync } from 'node:fs';
import { flows } from './flows.mjs';

export const columns = [
  'msal-node AAD',
  'msal-node OIDC',
  'msal-browser AAD',
  'msal-browser OIDC',
  'msal-python',
  'msal-python OIDC',
  'openid-client',
  'oauth4webapi',
  'passport',
  'graph-client',
];
const words = { ok: 'ok', refused: 'refused', failed: 'FAILED', begun: 'NO END' };

const cells = new Map();
for (const line of readFileSync(process.argv[2], 'utf8').split('\n').filter(Boolean)) {
  const { client, flow, outcome } = JSON.parse(line);
  cells.set(`${client}\0${flow}`, outcome);
}
const unknown = [...cells.keys()].map((key) => key.split('\0')[0]).filter((client) => !columns.includes(client));
const missing = columns.filter((client) => ![...cells.keys()].some((key) => key.startsWith(`${client}\0`)));

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
const failed = count('failed', 'begun');
console.log(
  `\nclients: ${columns.length - missing.length}, cells: ${cells.size}, ok: ${count('ok')}, ` +
    `refused as they should be: ${count('refused')}, failed: ${failed}`,
);
for (const client of missing) console.log(`no case of ${client} has run`);
for (const client of new Set(unknown)) console.log(`no column for ${client}`);
process.exitCode = failed || missing.length || unknown.length ? 1 : 0;
