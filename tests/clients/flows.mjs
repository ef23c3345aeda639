// One cell of the matrix is one test: it runs under node:test, and its outcome goes into the file that the matrix is made of.

import { appendFileSync, readFileSync } from 'node:fs';
import { test } from 'node:test';

export const flows = JSON.parse(readFileSync(new URL('flows.json', import.meta.url)));

/** A case of `client` (a column), with the flow's id as in flows.json (a row). */
export function flow(client, id, run) {
  const row = flows.find((flow) => flow.id === id);
  if (!row) throw new Error(`flows.json has no ${id}`);
  const record = (outcome) =>
    appendFileSync(process.env.CLIENTS_OUTCOMES, `${JSON.stringify({ client, flow: id, outcome })}\n`);
  // A process that dies on the way leaves this line, which counts as a failure.
  record('begun');
  test(`${client}: ${row.words}`, { timeout: 60_000 }, async (context) => {
    try {
      await run(context);
    } catch (error) {
      record('failed');
      throw error;
    }
    record(row.refused ? 'refused' : 'ok');
  });
}
