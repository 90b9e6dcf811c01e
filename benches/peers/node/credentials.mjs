// Who sent a push: Huawei's `X-AKSK` header.

import { createHmac, timingSafeEqual } from 'node:crypto';

import { Refusal } from './refusal.mjs';

/** A repeated push may carry the `Created` of the first attempt, which is up to five hours old. */
const CREATED_WINDOW_MS = 24 * 60 * 60 * 1000;
const CREATED = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/;

/** Returns a function that throws unless a header was made by the application. */
export function createAuthenticator(appKey, appSecret) {
  return (header) => {
    if (!header) throw new Refusal(401, 'no X-AKSK header');
    const token = {};
    for (const [, name, value] of header.matchAll(/(\w+)\s*=\s*"([^"]*)"/g)) token[name] = value;
    const { Username: username, PasswordDigest: digest, Nonce: nonce, Created: created } = token;
    if (!header.startsWith('UsernameToken ') || !username || !digest || !nonce || !CREATED.test(created)) {
      throw new Refusal(401, 'the credentials are not a well-formed UsernameToken');
    }
    if (username !== appKey) throw new Refusal(401, 'the Username is not a configured application');
    const expected = createHmac('sha256', appSecret).update(nonce + created).digest();
    const sent = Buffer.from(digest, 'base64');
    if (sent.length !== expected.length || !timingSafeEqual(sent, expected)) {
      throw new Refusal(401, "the PasswordDigest does not fit the application's secret");
    }
    // Written so that a time that does not exist, NaN, is refused as well.
    if (!(Math.abs(Date.now() - Date.parse(created)) <= CREATED_WINDOW_MS)) {
      throw new Refusal(401, 'Created is too far from the current time');
    }
  };
}
