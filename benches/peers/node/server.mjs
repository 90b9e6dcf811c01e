// Flags, workers, start and stop. A peer for the benchmark, see ../README.md.

import cluster from 'node:cluster';
import { parseArgs } from 'node:util';

import { createApp } from './app.mjs';

const HELP = `What the filter does, as a Fastify service behind Envoy: a peer to measure the filter against.

Usage: node server.mjs --store http://HOST:PORT --business http://HOST:PORT [--listen 127.0.0.1:0] [--workers 1]

Environment: HUAWEI_APP_KEY, HUAWEI_APP_SECRET, AK (the business's)

Says "peer-service listening on http://ADDRESS" on standard output once it serves. Stops on SIGTERM or SIGINT once the
callbacks under way are over.`;

/** Ends the program because of wrong usage. */
function misused(message) {
  console.error(`error: ${message}; --help explains`);
  process.exit(2);
}

function readSettings() {
  let flags;
  try {
    ({ values: flags } = parseArgs({
      options: {
        listen: { type: 'string', default: '127.0.0.1:0' },
        store: { type: 'string' },
        business: { type: 'string' },
        workers: { type: 'string', default: '1' },
        help: { type: 'boolean', short: 'h' },
      },
    }));
  } catch (error) {
    misused(error.message);
  }
  if (flags.help) {
    console.log(HELP);
    process.exit(0);
  }
  const address = /^\[?(.+?)\]?:(\d{1,5})$/.exec(flags.listen);
  if (!address) misused('--listen: an address and a port belong here, such as 127.0.0.1:0');
  for (const name of ['store', 'business']) {
    if (!/^http:\/\/[^/]+$/.test(flags[name] ?? '')) misused(`--${name}: http://HOST:PORT belongs here`);
  }
  if (!/^[1-9]\d?$/.test(flags.workers)) misused('--workers: a number from 1 to 99 belongs here');
  const { HUAWEI_APP_KEY: appKey, HUAWEI_APP_SECRET: appSecret, AK: ak } = process.env;
  if (!appKey || !appSecret || !ak) misused('HUAWEI_APP_KEY, HUAWEI_APP_SECRET and AK must be set in the environment');
  const { store, business } = flags;
  return { host: address[1], port: Number(address[2]), store, business, appKey, appSecret, ak, workers: Number(flags.workers) };
}

function announce(host, port) {
  console.log(`peer-service listening on http://${host.includes(':') ? `[${host}]` : host}:${port}`);
}

function onStop(stop) {
  for (const signal of ['SIGTERM', 'SIGINT']) process.once(signal, stop);
}

async function serve({ host, port, ...settings }) {
  const app = createApp(settings);
  await app.listen({ host, port });
  onStop(async () => {
    await app.close();
    process.exit(0);
  });
  return app.server.address();
}

function manageWorkers(count) {
  let listening = 0;
  let stopping = false;
  cluster.on('listening', (_worker, { address, port }) => {
    listening += 1;
    if (listening === count) announce(address, port);
  });
  cluster.on('exit', () => {
    if (stopping) return;
    console.error('a worker ended; another takes its place');
    cluster.fork();
  });
  onStop(() => {
    stopping = true;
    for (const worker of Object.values(cluster.workers)) worker.process.kill('SIGTERM');
  });
  for (let index = 0; index < count; index += 1) cluster.fork();
}

const settings = readSettings();
if (cluster.isPrimary && settings.workers > 1) {
  manageWorkers(settings.workers);
} else {
  const { address, port } = await serve(settings);
  if (cluster.isPrimary) announce(address, port);
}
