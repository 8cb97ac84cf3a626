'use strict';
/* Fills an empty database: the catalogue, a second channel, customers, a campaign. Once for each database. */
const { join } = require('node:path');
const core = require('@vendure/core');
const { populate } = require('@vendure/core/cli');
const { config } = require('./vendure-config');
const data = require('./data/initial-data.json');

const CHANNEL = 'b2b';
const PASSWORD = 'demo';
const languageCode = 'en';

async function fill() {
    const app = await populate(() => core.bootstrap(config), data, join(__dirname, 'data', 'products.csv'));
    const admin = await app.get(core.TransactionalConnection).rawConnection.getRepository(core.User).findOneOrFail({
        where: { identifier: config.authOptions.superadminCredentials.identifier },
        relations: { roles: { channels: true } },
    });
    const ctx = await app.get(core.RequestContextService).create({ apiType: 'admin', user: admin });
    await secondChannel(app, ctx);
    for (const account of data.accounts) {
        await app.get(core.CustomerService).create(ctx, account, PASSWORD);
    }
    await regulars(app, ctx);
    await app.get(core.PromotionService).createPromotion(ctx, {
        enabled: true,
        couponCode: 'SPRING10',
        conditions: [],
        actions: [{ code: 'order_percentage_discount', arguments: [{ name: 'discount', value: '10' }] }],
        translations: [{ languageCode, name: 'Spring', description: '' }],
    });
    await settle(app);
    await app.close();
}

async function secondChannel(app, ctx) {
    const main = ctx.channel;
    const channel = await app.get(core.ChannelService).create(ctx, {
        code: CHANNEL,
        token: CHANNEL,
        defaultLanguageCode: languageCode,
        defaultCurrencyCode: 'EUR',
        pricesIncludeTax: false,
        defaultTaxZoneId: main.defaultTaxZone.id,
        defaultShippingZoneId: main.defaultShippingZone.id,
        sellerId: main.sellerId,
    });
    if (channel.errorCode) {
        throw new Error(channel.message);
    }
    const ids = async entity =>
        (await app.get(core.TransactionalConnection).getRepository(ctx, entity).find()).map(found => found.id);
    const channelId = channel.id;
    const inIt = async (service, method, input) => app.get(service)[method](ctx, { channelId, ...input });
    await inIt(core.ProductService, 'assignProductsToChannel', {
        productIds: await ids(core.Product),
        priceFactor: 0.8,
    });
    await inIt(core.ShippingMethodService, 'assignShippingMethodsToChannel', {
        shippingMethodIds: await ids(core.ShippingMethod),
    });
    await inIt(core.PaymentMethodService, 'assignPaymentMethodsToChannel', {
        paymentMethodIds: await ids(core.PaymentMethod),
    });
    await inIt(core.StockLocationService, 'assignStockLocationsToChannel', {
        stockLocationIds: await ids(core.StockLocation),
    });
    // The superadmin may act in it.
    const roles = app.get(core.RoleService);
    const role = await roles.getSuperAdminRole(ctx);
    await roles.assignRoleToChannel(ctx, role.id, channelId);
}

/* Customers whom the shop knows by their address, and who have no account: they buy as guests. */
async function regulars(app, ctx) {
    const connection = app.get(core.TransactionalConnection);
    const channels = await connection.getRepository(ctx, core.Channel).find();
    for (const { customerStatus, ...customer } of data.regulars) {
        const customFields = process.env.CUSTOMER_STATUS === '1' ? { customerStatus } : {};
        await connection.getRepository(ctx, core.Customer).save(new core.Customer({ ...customer, customFields, channels }));
    }
}

/* Do the work that a worker would do (the search index, the collections' contents), and leave no trace of it. */
async function settle(app) {
    await app.get(core.JobQueueService).start();
    const database = app.get(core.TransactionalConnection).rawConnection;
    const waiting = () => database.query('SELECT count(*)::int AS jobs FROM job_record WHERE NOT "isSettled"');
    while ((await waiting())[0].jobs) {
        await new Promise(resolve => setTimeout(resolve, 100));
    }
    await database.query('DELETE FROM job_record');
}

fill().then(
    () => process.exit(0),
    error => {
        console.error(error);
        process.exit(1);
    },
);
