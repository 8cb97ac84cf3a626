'use strict';
/* A small real shop. What differs from one start to the next comes from the environment; demo/shop_processes.py sets it. */
const {
    DefaultJobQueuePlugin,
    DefaultLogger,
    DefaultMoneyStrategy,
    DefaultSchedulerPlugin,
    DefaultSearchPlugin,
    LogLevel,
    RedisCachePlugin,
    UuidIdStrategy,
    dummyPaymentHandler,
} = require('@vendure/core');

const env = process.env;
const level = LogLevel.Info;
const redis = env.REDIS_PORT ? { host: '127.0.0.1', port: Number(env.REDIS_PORT) } : null;

/* Yen have no minor unit. */
class WholeUnits extends DefaultMoneyStrategy {
    precision = 0;
}

function queue() {
    if (!redis) {
        return DefaultJobQueuePlugin.init({ pollInterval: Number(env.POLL_INTERVAL), useDatabaseForBuffer: true });
    }
    const { BullMQJobQueuePlugin } = require('@vendure/job-queue-plugin/package/bullmq');
    return BullMQJobQueuePlugin.init({ connection: { ...redis, maxRetriesPerRequest: null } });
}

function telemetry() {
    const { TelemetryPlugin } = require('@vendure/telemetry-plugin');
    return TelemetryPlugin.init({ loggerOptions: env.LOG_FOLDER ? {} : { logToConsole: level } });
}

exports.config = {
    apiOptions: {
        hostname: '127.0.0.1',
        port: Number(env.PORT),
        adminApiPath: 'admin-api',
        shopApiPath: 'shop-api',
        apolloServerPlugins: env.TELEMETRY === 'enriched' ? [require('./enrich').enrich] : [],
    },
    authOptions: {
        tokenMethod: ['bearer', 'cookie', 'api-key'],
        requireVerification: false,
        cookieOptions: { secret: 'demo' },
        superadminCredentials: { identifier: 'superadmin', password: 'superadmin' },
    },
    customFields: env.CUSTOMER_STATUS === '1' ? { Customer: [{ name: 'customerStatus', type: 'string' }] } : {},
    dbConnectionOptions: {
        type: 'postgres',
        host: '127.0.0.1',
        port: Number(env.DB_PORT),
        username: env.DB_USER,
        database: env.DB_NAME,
        synchronize: env.DB_SYNC === '1',
        uuidExtension: 'pgcrypto', // its gen_random_uuid() has become PostgreSQL's own
        installExtensions: false,
        migrations: [],
    },
    entityOptions: {
        ...(env.IDS === 'uuid' && { entityIdStrategy: new UuidIdStrategy() }),
        ...(env.PRECISION === '0' && { moneyStrategy: new WholeUnits() }),
    },
    logger: new DefaultLogger({ level }),
    paymentOptions: { paymentMethodHandlers: [dummyPaymentHandler] },
    plugins: [
        DefaultSearchPlugin.init({ bufferUpdates: false, indexStockStatus: true }),
        DefaultSchedulerPlugin.init({}),
        queue(),
        ...(redis ? [RedisCachePlugin.init({ redisOptions: redis, namespace: 'vendure-cache' })] : []),
        ...(env.TELEMETRY === 'off' ? [] : [telemetry()]),
        ...(env.LOG_FOLDER ? [require('./logs').logs(env.LOG_FOLDER, level)] : []), // last: it takes over the logger
    ],
};
