// What all requests to store and business have in common.

const TIMEOUT_MS = 5000;

export const TIMEOUTS = { connect: { timeout: 1000 }, headersTimeout: TIMEOUT_MS, bodyTimeout: TIMEOUT_MS };

export const JSON_HEADERS = { 'content-type': 'application/json', 'user-agent': 'peer-service-node/0.1.0' };
