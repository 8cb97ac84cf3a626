'use strict';
const { bootstrap } = require('@vendure/core');
const { config } = require('./vendure-config');

bootstrap(config).catch(error => {
    console.error(error);
    process.exit(1);
});

/* `toban demo --break loop`: each such signal, of which Nest makes nothing, begins or ends a computation that leaves the event loop a tenth of the time. */
let blocking;
process.on('SIGWINCH', () => {
    if (blocking) {
        clearInterval(blocking);
        blocking = undefined;
        return;
    }
    blocking = setInterval(() => {
        const until = Date.now() + 900;
        while (Date.now() < until) Math.sqrt(until);
    }, 1000);
});
