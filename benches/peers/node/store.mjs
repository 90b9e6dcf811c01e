// What the store is asked and told.

import { Pool } from 'undici';

import { Refusal } from './refusal.mjs';
import { JSON_HEADERS, TIMEOUTS } from './requests.mjs';

/** So many outcomes are reported at a time: a store takes only so many connections. */
const REPORTS_AT_A_TIME = 128;

export function createStore(origin) {
  const options = { ...TIMEOUTS, pipelining: 1, keepAliveTimeout: 30_000, keepAliveMaxTimeout: 30_000 };
  const pushes = new Pool(origin, options);
  const outcomes = new Pool(origin, { ...options, connections: REPORTS_AT_A_TIME });

  return {
    /** Has a push committed; the store's answer. */
    async commit(push) {
      try {
        const { statusCode, headers, body } = await pushes.request({
          method: 'POST',
          path: '/v1/pushes',
          headers: JSON_HEADERS,
          body: JSON.stringify(push),
        });
        if (statusCode === 200 && headers['privatenumber-committed'] === push.pushId) return await body.json();
        await body.dump();
      } catch {
        // Answered below: whatever it was, the push is not known to be recorded.
      }
      throw new Refusal(503, 'the push could not be recorded; push it again');
    },

    /** Tells what became of one callback. */
    async report(report) {
      const { statusCode, body } = await outcomes.request({
        method: 'POST',
        path: '/v1/outcomes',
        headers: JSON_HEADERS,
        body: JSON.stringify({ outcomes: [report] }),
      });
      await body.dump();
      if (statusCode !== 200) throw new Error('the store did not take an outcome');
    },

    close: () => Promise.all([pushes.close(), outcomes.close()]),
  };
}
