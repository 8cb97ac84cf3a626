/*
 * Pushes lines to a Loki with its clients for Node: `node push.js URL TOKEN winston-json|winston-protobuf|pino COUNT`.
 *
 * An error with a stack trace comes first, then so many warnings.
 */
const [url, token, client, count] = process.argv.slice(2);
const labels = { app: client, env: 'production' };

function withWinston() {
  const winston = require('winston');
  const LokiTransport = require('winston-loki');
  const { combine, timestamp, errors, json } = winston.format;
  const transport = new LokiTransport({
    host: url, labels, basicAuth: `any:${token}`, json: client === 'winston-json', interval: 0.1, gracefulShutdown: false,
    format: combine(timestamp(), errors({ stack: true }), json()),
    onConnectionError: error => { throw error; },
  });
  const logger = winston.createLogger({ transports: [transport] });
  logger.error('payment failed', { order: 'A1', stack: new Error('declined').stack });
  for (let number = 0; number < count; number++) logger.warn(`line ${number}`, { number });
  transport.flush().then(() => transport.close());
}

function withPino() {
  const pino = require('pino');
  const transport = pino.transport({
    target: 'pino-loki', options: { host: url, labels, basicAuth: { username: 'any', password: token }, batching: { interval: 0.1 } },
  });
  const logger = pino(transport);
  logger.error({ order: 'A1', err: new Error('declined') }, 'payment failed');
  for (let number = 0; number < count; number++) logger.warn({ number }, `line ${number}`);
  transport.on('ready', () => transport.end());
}

client === 'pino' ? withPino() : withWinston();
