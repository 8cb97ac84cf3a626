/* Reports an error with a shop's own SDK of Sentry: `node report.js DSN MESSAGE`. */
const Sentry = require('@sentry/node');

const [dsn, message] = process.argv.slice(2);
Sentry.init({ dsn, environment: 'production' });
Sentry.captureException(new Error(message));
Sentry.close(10_000).then(isSent => process.exit(isSent ? 0 : 1));
