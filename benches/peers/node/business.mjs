// The one callback of a call.

import { Pool } from 'undici';

import { JSON_HEADERS, TIMEOUTS } from './requests.mjs';

/** Why there is no answer, by undici's and the system's codes. Before there is a connection nothing was sent. */
const NOT_CONNECTED = new Set(['ECONNREFUSED', 'EHOSTUNREACH', 'ENETUNREACH', 'ENOTFOUND', 'UND_ERR_CONNECT_TIMEOUT']);
const TIMED_OUT = new Set(['UND_ERR_HEADERS_TIMEOUT', 'UND_ERR_BODY_TIMEOUT']);

function outcomeOf(error) {
  if (NOT_CONNECTED.has(error.code)) return { class: 'not_sent', reason: 'connection_failed' };
  return { class: 'maybe_sent', reason: TIMED_OUT.has(error.code) ? 'timeout' : 'reset' };
}

export function createBusiness(origin) {
  const pool = new Pool(origin, { ...TIMEOUTS, pipelining: 1, keepAliveTimeout: 1000, keepAliveMaxTimeout: 1000 });

  async function outcome(callId, record) {
    try {
      const { statusCode, body } = await pool.request({
        method: 'POST',
        path: '/callback',
        headers: {
          ...JSON_HEADERS,
          'webhook-id': callId,
          'webhook-timestamp': String(Math.floor(Date.now() / 1000)),
        },
        body: JSON.stringify(record),
      });
      await body.dump();
      return { class: 'answered', status: statusCode };
    } catch (error) {
      return outcomeOf(error);
    }
  }

  return {
    /** Calls back; what became of it and how long it took. */
    async callBack(callId, record) {
      const started = performance.now();
      return { outcome: await outcome(callId, record), durationMs: Math.round(performance.now() - started) };
    },

    close: () => pool.close(),
  };
}
