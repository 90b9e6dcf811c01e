// Where Huawei pushes.

import { randomBytes } from 'node:crypto';
import { STATUS_CODES } from 'node:http';

import Fastify from 'fastify';

import { createAuthenticator } from './credentials.mjs';
import { pushSchema, reshape } from './cdr.mjs';
import { createBusiness } from './business.mjs';
import { createStore } from './store.mjs';
import { Refusal } from './refusal.mjs';

const MAX_BODY_BYTES = 1024 * 1024;
/** How long after its push a call without an outcome reads as `unknown`. */
const CLAIM_DEADLINE_MS = 15 * 60 * 1000;
/** Most calls between the push and the end of their outcome's report. */
const MAX_PENDING_CALLS = 10_000;
/** Time for the callbacks under way when the service is stopped. */
const FINISH_MS = 10_000;

const answerSchema = {
  type: 'object',
  properties: { resultcode: { type: 'string' }, resultdesc: { type: 'string' } },
};

export function createApp({ store: storeUrl, business: businessUrl, appKey, appSecret, ak }) {
  const app = Fastify({ logger: false, bodyLimit: MAX_BODY_BYTES });
  app.removeContentTypeParser('text/plain');
  const authenticate = createAuthenticator(appKey, appSecret);
  const store = createStore(storeUrl);
  const business = createBusiness(businessUrl);
  let pending = 0;

  async function callBack(call) {
    if (call.ak === ak) return business.callBack(call.callId, call.record);
    const reason = call.ak == null ? 'no_binding' : 'no_callback';
    return { outcome: { class: 'skipped', reason }, durationMs: null };
  }

  async function settle(call, pushId) {
    try {
      const { outcome, durationMs } = await callBack(call);
      await store.report({ callId: call.callId, pushId, outcome, durationMs });
    } catch {
      console.error(`an outcome of push ${pushId} could not be reported`);
    } finally {
      pending -= 1;
    }
  }

  async function record(cdrs) {
    const now = Date.now();
    const pushId = randomBytes(16).toString('hex');
    const calls = cdrs.map((cdr, index) => reshape(cdr, index, { appKey, ak, claimDeadline: now + CLAIM_DEADLINE_MS }));
    if (pending + calls.length > MAX_PENDING_CALLS) {
      throw new Refusal(503, 'too many callbacks are in flight; push it again');
    }
    pending += calls.length;
    let claimed = [];
    try {
      const answer = await store.commit({ pushId, appKey, receivedAt: now, calls });
      claimed = answer.calls.filter((call) => call.verdict === 'claimed');
    } finally {
      pending -= calls.length - claimed.length;
    }
    for (const call of claimed) settle(call, pushId);
  }

  app.route({
    method: 'POST',
    url: '/huawei/fee',
    schema: { body: pushSchema, response: { 200: answerSchema } },
    onRequest: async (request) => authenticate(request.headers['x-aksk']),
    handler: async (request) => {
      await record(request.body.feeLst);
      return { resultcode: '0', resultdesc: 'Success' };
    },
  });
  app.route({
    method: ['GET', 'HEAD', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'],
    url: '/huawei/fee',
    handler: async (_request, reply) => {
      reply.header('allow', 'POST');
      throw new Refusal(405, 'pushes are POST requests');
    },
  });

  app.setErrorHandler((error, _request, reply) => {
    const status = error.statusCode ?? 500;
    // The parser's own message holds a piece of the body.
    const reason = error.code === 'FST_ERR_CTP_INVALID_JSON_BODY' ? 'the body is not JSON' : error.message;
    if (status === 401) reply.header('www-authenticate', 'AKSK realm="SDP",profile="UsernameToken",type="Appkey"');
    if (status === 503) reply.header('retry-after', '60');
    reply.code(status).send({ resultcode: String(status), resultdesc: STATUS_CODES[status], reason });
  });

  app.addHook('onClose', async () => {
    const deadline = Date.now() + FINISH_MS;
    while (pending > 0 && Date.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 10));
    if (pending > 0) console.error('some callbacks did not end in time');
    await Promise.all([store.close(), business.close()]);
  });
  return app;
}
