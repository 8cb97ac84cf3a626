'use strict';
const { bootstrapWorker } = require('@vendure/core');
const { config } = require('./vendure-config');

bootstrapWorker(config)
    .then(worker => worker.startJobQueue())
    .then(worker => worker.startHealthCheckServer({ port: Number(process.env.PORT), hostname: '127.0.0.1' }))
    .catch(error => {
        console.error(error);
        process.exit(1);
    });
