'use strict';
/* Telemetry as the plugin's own documentation sets it up, for the tests: traces as JSON, logs as protobuf. */
const { NodeSDK } = require('@opentelemetry/sdk-node');
const { getSdkConfiguration } = require('@vendure/telemetry-plugin/preload');

const sdk = new NodeSDK(getSdkConfiguration());
sdk.start();
process.once('SIGTERM', () => sdk.shutdown().catch(() => {}));
