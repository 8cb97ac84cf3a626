/* Writes lines with winston: `node write.js FOLDER COUNT`. Each line has a token that no other has. */
const winston = require('winston');
require('winston-daily-rotate-file');

const [folder, count] = [process.argv[2], Number(process.argv[3])];
const { combine, timestamp, errors, json, colorize } = winston.format;

const kinds = {
  // Rotated by size: rotated-2026-01-31.1, .2, ..., the oldest are compressed or removed.
  rotated: new winston.transports.DailyRotateFile({
    dirname: folder, filename: 'rotated-%DATE%', extension: '.log', maxSize: '20k', maxFiles: '7d',
    format: combine(timestamp(), errors({ stack: true }), json()),
  }),
  // Numbered: sized.log is the oldest, then sized1.log, ... (with `tailable`, winston itself loses lines).
  sized: new winston.transports.File({
    dirname: folder, filename: 'sized.log', maxsize: 20_000, maxFiles: 100,
    format: combine(colorize(), timestamp({ format: 'YYYY-MM-DD HH:mm:ss' }), errors({ stack: true }), json()),
  }),
};

const circular = { name: 'circle' };
circular.self = circular;

const oddities = [
  (logger, token) => logger.info(token),
  (logger, token) => logger.warn('with meta', { token, nested: { a: [1, 2] }, buffer: Buffer.from('x'), nothing: undefined }),
  (logger, token) => logger.error(token, { context: 'Orders', trace: 'Error: e1\n    at x (/app/x.js:1:1)' }),
  (logger, token) => logger.error(new Error(token)),
  (logger, token) => logger.error('failed:', new Error(token)),
  (logger, token) => logger.info({ message: { token, code: 5 } }),
  (logger, token) => logger.info(undefined, { token }),
  (logger, token) => logger.info('outer', { message: token }),
  (logger, token) => logger.info('日本語 \ud83d', { token, circular, big: 12345678901234567890n, nan: NaN }),
  (logger, token) => logger.debug(token, { timestamp: 'yesterday', category: 'business' }),
  (logger, token) => logger.http(token, { traceId: '0af7651916cd43dd8448eb211c80319c' }),
  (logger, token) => logger.info('two\nlines', { token }),
];

async function write(name, transport) {
  const logger = winston.createLogger({
    level: 'silly', transports: [transport], defaultMeta: { service: name, environment: 'test', instance: 'here' },
  });
  for (let number = 0; number < count; number++) {
    oddities[number % oddities.length](logger, `<${name === 'rotated' ? 1 : 2}${String(number).padStart(6, '0')}>`);
    // Faster, its own files lose lines.
    if (number % 20 === 19) await new Promise(resolve => setTimeout(resolve, 10));
  }
  await new Promise(resolve => { transport.on('finish', resolve); logger.end(); });
}

Promise.all(Object.entries(kinds).map(([name, transport]) => write(name, transport)));
