-- Queries of orders, payments and jobs, which are counted one by one (shop_queries.py).
--
-- Two clocks: times that Vendure's processes write (orderPlacedAt, settledAt) are in their time zone, %(shop)s here;
-- createdAt is PostgreSQL's own now(), in the time zone of the shop's sessions, %(database)s. Angle brackets are
-- replaced by what differs between shops: a column that may be missing, the type of ids.

-- query: orders
-- rows: Placed orders that were not counted yet: total, channel, customer type, and state at that moment.
SELECT o.id::text, o."orderPlacedAt" AT TIME ZONE %(shop)s::text, o."currencyCode",
    o."subTotal" + o.shipping, o."subTotalWithTax" + o."shippingWithTax", coalesce(sold.code, '__default_channel__'),
    coalesce(history.state, o.state), <customer type>
FROM "order" o
LEFT JOIN customer ON customer.id = o."customerId"
LEFT JOIN LATERAL (
    -- An order of a second channel is also in the default one.
    SELECT channel.code FROM order_channels_channel link JOIN channel ON channel.id = link."channelId"
    WHERE link."orderId" = o.id ORDER BY channel.code = '__default_channel__', channel.id LIMIT 1
) sold ON true
LEFT JOIN LATERAL (
    -- It may have gone back to the cart before: what placed it is the last that led on from the payment.
    SELECT entry.data::json ->> 'to' AS state FROM history_entry entry
    WHERE entry."orderId" = o.id AND entry.type = 'ORDER_STATE_TRANSITION'
        AND entry.data::json ->> 'from' = 'ArrangingPayment'
        AND entry.data::json ->> 'to' NOT IN ('AddingItems', 'Cancelled', 'Created', 'Draft')
    ORDER BY entry."createdAt" DESC LIMIT 1
) history ON true
WHERE o."orderPlacedAt" >= %(since)s::timestamptz AT TIME ZONE %(shop)s::text
    AND (%(until)s::timestamptz IS NULL OR o."orderPlacedAt" <= %(until)s::timestamptz AT TIME ZONE %(shop)s::text)
    AND o.type <> 'Seller' AND NOT (o.id::text = ANY (%(seen)s::text[]))
ORDER BY o."orderPlacedAt", o.id LIMIT %(most)s;

-- query: campaigns
-- rows: The promotions of some orders.
SELECT "orderId"::text, "promotionId"::text FROM order_promotions_promotion
WHERE "orderId" = ANY (%(ids)s::text[]::<id>[]);

-- query: discounts
-- rows: Discounts on the lines of some orders: adjustments, taxes, and whether these amounts include tax.
SELECT "orderId"::text, adjustments, "taxLines", "listPriceIncludesTax" FROM order_line
WHERE "orderId" = ANY (%(ids)s::text[]::<id>[]) AND adjustments LIKE '%%PROMOTION:%%'
UNION ALL
SELECT "orderId"::text, adjustments, "taxLines", "listPriceIncludesTax" FROM shipping_line
WHERE "orderId" = ANY (%(ids)s::text[]::<id>[]) AND adjustments LIKE '%%PROMOTION:%%';

-- query: scanned
-- rows: Of the payments with the next ids: how many, and the highest id and newest time that belong to a slice.
WITH next AS (
    SELECT id, "createdAt" AT TIME ZONE %(database)s::text AS at FROM payment
    WHERE id > %(top)s ORDER BY id LIMIT %(most)s
)
SELECT count(*), coalesce(max(id) FILTER (WHERE %(until)s::timestamptz IS NULL OR at <= %(until)s), %(top)s), max(at)
FROM next;

-- query: floor
-- rows: The id up to which payments are so old that they are not read again.
SELECT coalesce(max(id), %(floor)s) FROM payment
WHERE id > %(floor)s AND id <= %(top)s
    AND "createdAt" < %(before)s::timestamptz AT TIME ZONE %(database)s::text;

-- query: numbered
-- rows: Failed payments in a range of ids that were not counted yet.
SELECT p.id::text, p."createdAt" AT TIME ZONE %(database)s::text, o.code, p.method, p.state,
    coalesce(p."errorMessage", '')
FROM payment p LEFT JOIN "order" o ON o.id = p."orderId"
WHERE p.id > %(floor)s AND p.id <= %(top)s AND p.state IN ('Declined', 'Error')
    AND p."createdAt" >= %(since)s::timestamptz AT TIME ZONE %(database)s::text
    AND NOT (p.id::text = ANY (%(seen)s::text[]));

-- query: unnumbered
-- rows: Failed payments in a range of time that were not counted yet: createdAt has no index.
SELECT p.id::text, p."createdAt" AT TIME ZONE %(database)s::text, o.code, p.method, p.state,
    coalesce(p."errorMessage", '')
FROM payment p LEFT JOIN "order" o ON o.id = p."orderId"
WHERE p.state IN ('Declined', 'Error') AND p."createdAt" >= %(since)s::timestamptz AT TIME ZONE %(database)s::text
    AND NOT (p.id::text = ANY (%(seen)s::text[]))
ORDER BY p."createdAt" LIMIT %(most)s;

-- query: placed
-- rows: When some orders were placed, if they were.
SELECT code, "orderPlacedAt" AT TIME ZONE %(shop)s::text FROM "order" WHERE code = ANY (%(codes)s::text[]);

-- query: jobs
-- rows: Completed and failed jobs that were not counted yet.
SELECT id::text, "settledAt" AT TIME ZONE %(shop)s::text, "queueName", state = 'FAILED', attempts FROM job_record
WHERE "isSettled" AND state IN ('COMPLETED', 'FAILED')
    AND "settledAt" >= %(since)s::timestamptz AT TIME ZONE %(shop)s::text
    AND NOT (id::text = ANY (%(seen)s::text[]))
ORDER BY "settledAt", id LIMIT %(most)s;

-- query: newest
-- rows: How far the newest order lies ahead of now, if it were written in a time zone.
SELECT extract(epoch FROM max("orderPlacedAt") AT TIME ZONE %(shop)s::text - now()) FROM "order";

-- query: zone
-- rows: The role, and the time zone of the shop's sessions: of its role (whom the tables belong to), else of its database.
SELECT current_user::text, coalesce((
    SELECT split_part(setting, '=', 2)
    FROM pg_db_role_setting, unnest(setconfig) AS setting
    WHERE setting ILIKE 'timezone=%%'
        AND setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
        AND setrole IN (0, (SELECT relowner FROM pg_class WHERE oid = to_regclass('"order"')))
    ORDER BY setrole <> 0 AND setdatabase <> 0 DESC, setrole <> 0 DESC, setdatabase <> 0 DESC LIMIT 1
), current_setting('TimeZone'));
