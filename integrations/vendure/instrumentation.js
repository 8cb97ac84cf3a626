'use strict';
/*
 * Sends what a Vendure server or worker does to toban, by OpenTelemetry:
 *
 *     node --require ./instrumentation.js server.js
 *     node --require ./instrumentation.js worker.js
 *
 * TOBAN_URL       where toban listens (http://127.0.0.1:9119)
 * TOBAN_TOKEN     its token, when it has one
 * TOBAN_TRACES    `enriched` leaves out what toban does not read once enrich.js is in use
 * OTEL_…          OpenTelemetry's own variables win over all of these
 *
 * README.md beside this file says what each gives.
 */
const { hostname } = require('node:os');
const { basename } = require('node:path');
const { getHeapStatistics } = require('node:v8');

const env = process.env;
if (!env.OTEL_EXPORTER_OTLP_ENDPOINT) {
    env.OTEL_EXPORTER_OTLP_ENDPOINT = env.TOBAN_URL || 'http://127.0.0.1:9119';
    // The token goes to toban only, never to an endpoint that somebody else named.
    if (env.TOBAN_TOKEN && !env.OTEL_EXPORTER_OTLP_HEADERS) {
        env.OTEL_EXPORTER_OTLP_HEADERS = `authorization=${encodeURIComponent(`Bearer ${env.TOBAN_TOKEN}`)}`;
    }
}
env.OTEL_METRICS_EXPORTER ||= 'otlp';
env.OTEL_METRIC_EXPORT_INTERVAL ||= '15000';
// A timeout longer than the interval ends the process at its start, and the default is longer.
env.OTEL_METRIC_EXPORT_TIMEOUT = String(
    Math.min(Number(env.OTEL_METRIC_EXPORT_TIMEOUT) || 10000, Number(env.OTEL_METRIC_EXPORT_INTERVAL)),
);

// These read the environment when they are loaded, so it is set above.
const { metrics } = require('@opentelemetry/api');
const { OTLPLogExporter } = require('@opentelemetry/exporter-logs-otlp-proto');
const { OTLPTraceExporter } = require('@opentelemetry/exporter-trace-otlp-proto');
const { resourceFromAttributes } = require('@opentelemetry/resources');
const { BatchLogRecordProcessor } = require('@opentelemetry/sdk-logs');
const { NodeSDK } = require('@opentelemetry/sdk-node');
const { BatchSpanProcessor } = require('@opentelemetry/sdk-trace-base');
const { getSdkConfiguration } = require('@vendure/telemetry-plugin/preload');

const INFO = 9;
const ERROR = 2;
const UNREAD = /\/instrumentation-(express|graphql|nestjs-core)$/;

/*
 * Secrets and customers' data stay in the shop: a job's data holds the request that made it, with its session token;
 * so do Redis' arguments, a cache's key and a page's query.
 */
function hide({ attributes, events }) {
    delete attributes['job.data'];
    delete attributes['url.query'];
    cut(attributes, 'cache.key', ':');
    for (const event of events) {
        cut(event.attributes ?? {}, 'key', ':'); // of cache.hit and cache.miss
    }
    for (const name of ['http.url', 'http.target', 'url.full']) {
        cut(attributes, name, '?');
    }
    if (attributes['db.system'] === 'redis') {
        cut(attributes, 'db.statement', ' ');
    }
}

function cut(attributes, name, at) {
    if (attributes[name] !== undefined) {
        attributes[name] = String(attributes[name]).split(at, 1)[0];
    }
}

class Spans extends BatchSpanProcessor {
    onEnd(span) {
        const unread = env.TOBAN_TRACES === 'enriched' && UNREAD.test(span.instrumentationScope.name);
        if (!unread || span.status.code === ERROR) {
            hide(span);
            super.onEnd(span);
        }
    }
}

// Vendure hands over every level, whatever the console shows; below info most are cache keys.
class Logs extends BatchLogRecordProcessor {
    onEmit(record) {
        if (!(record.severityNumber < INFO)) {
            super.onEmit(record);
        }
    }
}

// One request makes up to two hundred spans, and its own comes last: a full queue would drop just that.
const batches = { scheduledDelayMillis: 1000, maxQueueSize: 8192, maxExportBatchSize: 1024 };

const sdk = new NodeSDK(
    getSdkConfiguration({
        config: {
            // OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES win over these.
            resource: resourceFromAttributes({
                'service.name': /worker/i.test(basename(process.argv[1] || '')) ? 'vendure-worker' : 'vendure-server',
                'service.namespace': 'vendure',
                'service.instance.id': env.FLY_MACHINE_ID || `${hostname()}:${process.pid}`,
                'service.environment': env.NODE_ENV || 'development',
            }),
            spanProcessors: [new Spans(new OTLPTraceExporter(), batches)],
            logRecordProcessors: [new Logs(new OTLPLogExporter(), batches)],
        },
    }),
);
sdk.start();

// Memory that the system gave the process, and how far its heap may grow: Node's own instrumentation tells neither.
const meter = metrics.getMeter('toban');
meter
    .createObservableUpDownCounter('process.memory.usage', { unit: 'By', description: 'Resident memory.' })
    .addCallback(result => result.observe(process.memoryUsage.rss()));
meter
    .createObservableUpDownCounter('nodejs.heap.limit', { unit: 'By', description: 'The most the heap may grow to.' })
    .addCallback(result => result.observe(getHeapStatistics().heap_size_limit));

// `once`, never `on`: Vendure cleans up and sends itself the signal again; a handler that is still there would swallow
// it, and the process never end.
for (const signal of ['SIGINT', 'SIGTERM']) {
    process.once(signal, async () => {
        const alone = process.listenerCount(signal) === 0;
        await sdk.shutdown().catch(() => {});
        if (alone) {
            process.kill(process.pid, signal); // Vendure was not yet there to do it
        }
    });
}
