-- Metrics of the shop's tables, apart from orders, payments and jobs, which are counted one by one (shop_queries.sql).
--
-- Two clocks: times that Vendure's processes write (orderPlacedAt, startedAt, settledAt, expires, lastExecutedAt,
-- lockedAt) are in their time zone, which is `toban.zone` here; createdAt and updatedAt are PostgreSQL's own now(), in
-- the time zone of the shop's sessions, which is set for the transaction. `toban.unit` is how many minor units make one
-- of the currency. `needs` names tables. `<newest payments>` leaves out old rows without an index on createdAt, where
-- ids are ascending.

-- query: vendure_orders_stuck
-- interval: 2m
-- needs: order payment
-- value: Orders with an authorized or settled payment that are still in ArrangingPayment.
SELECT count(DISTINCT o.id) AS value
FROM "order" o JOIN payment p ON p."orderId" = o.id
WHERE o."orderPlacedAt" IS NULL AND o.active AND o.state = 'ArrangingPayment'
  AND p.state IN ('Authorized', 'Settled') AND p."createdAt" < localtimestamp - interval '1 minute';

-- query: vendure_order_stuck
-- present: while such an order waits
-- interval: 1m
-- needs: order payment
-- seconds: Waiting time of such an order, by its code, for the five that have been waiting for longest.
SELECT o.code AS label_order, extract(epoch FROM localtimestamp - min(p."createdAt")) AS seconds
FROM "order" o JOIN payment p ON p."orderId" = o.id
WHERE o."orderPlacedAt" IS NULL AND o.active AND o.state = 'ArrangingPayment'
  AND p.state IN ('Authorized', 'Settled') AND p."createdAt" < localtimestamp - interval '1 minute'
GROUP BY 1 ORDER BY 2 DESC LIMIT 5;

-- query: vendure_payments_recent
-- present: once there was a payment attempt
-- needs: payment
-- value: Payment attempts of the last minutes (window), by method and result: succeeded, declined, error.
WITH newest AS (
    SELECT method, "createdAt", CASE state WHEN 'Declined' THEN 'declined' WHEN 'Error' THEN 'error' ELSE 'succeeded' END AS outcome
    FROM payment WHERE <newest payments> state <> 'Created'
)
SELECT methods.method AS label_method, outcomes.outcome AS label_outcome, windows.name AS label_window,
       count(newest.method) AS value
FROM (SELECT DISTINCT method FROM newest) methods
CROSS JOIN (VALUES ('succeeded'), ('declined'), ('error')) outcomes (outcome)
CROSS JOIN (VALUES ('3m', interval '3 minutes'), ('30m', interval '30 minutes')) windows (name, length)
LEFT JOIN newest ON newest.method = methods.method AND newest.outcome = outcomes.outcome
  AND newest."createdAt" > localtimestamp - windows.length
GROUP BY 1, 2, 3;

-- query: vendure_payments_failing
-- present: once there was a payment attempt
-- needs: payment
-- orders: Consecutive orders whose payment by this method failed: those since the last successful attempt.
WITH newest AS (
    SELECT method, "orderId", "createdAt", state IN ('Declined', 'Error') AS failed
    FROM payment WHERE <newest payments> state <> 'Created'
), succeeded AS (
    SELECT method, max("createdAt") AS at FROM newest WHERE NOT failed GROUP BY 1
)
SELECT newest.method AS label_method,
       count(DISTINCT newest."orderId") FILTER (
           WHERE newest.failed AND newest."createdAt" > coalesce(succeeded.at, '-infinity')
             AND newest."createdAt" > localtimestamp - interval '1 day'
       ) AS orders
FROM newest LEFT JOIN succeeded USING (method) GROUP BY 1;

-- query: vendure_payments_newest
-- present: once there was a payment attempt
-- needs: payment
-- failed: Failed ones among the newest ten payment attempts, by method.
SELECT method AS label_method, count(*) FILTER (WHERE failed) AS failed
FROM (
    SELECT method, state IN ('Declined', 'Error') AS failed,
           row_number() OVER (PARTITION BY method ORDER BY "createdAt" DESC, id DESC) AS place
    FROM payment WHERE <newest payments> state <> 'Created'
) ranked WHERE place <= 10 GROUP BY 1;

-- query: vendure_payments_overall
-- needs: payment
-- failing_orders: Consecutive orders whose payment failed, by any method: those since the last successful attempt.
-- newest_failed: Failed ones among the newest ten payment attempts, of all methods together.
WITH newest AS (
    SELECT id, "orderId", "createdAt", state IN ('Declined', 'Error') AS failed
    FROM payment WHERE <newest payments> state <> 'Created'
), succeeded AS (
    SELECT coalesce(max("createdAt"), '-infinity') AS at FROM newest WHERE NOT failed
)
SELECT (SELECT count(DISTINCT "orderId") FROM newest, succeeded
        WHERE failed AND "createdAt" > succeeded.at AND "createdAt" > localtimestamp - interval '1 day') AS failing_orders,
       (SELECT count(*) FILTER (WHERE failed)
        FROM (SELECT failed FROM newest ORDER BY "createdAt" DESC, id DESC LIMIT 10) latest) AS newest_failed;

-- query: vendure_payments_of_order
-- needs: payment
-- highest: The most failed payment attempts of one order within an hour: many are somebody who tests cards.
-- repeated: Orders with five failed attempts or more within an hour.
WITH tried AS (
    SELECT count(*) AS attempts FROM payment
    WHERE <newest payments> "createdAt" > localtimestamp - interval '1 hour' AND state IN ('Declined', 'Error')
    GROUP BY "orderId"
)
SELECT coalesce(max(attempts), 0) AS highest, count(*) FILTER (WHERE attempts >= 5) AS repeated FROM tried;

-- query: vendure_payment_attempts
-- present: while an order has repeated failed attempts
-- needs: payment order money
-- value: Failed payment attempts of an order within an hour, by its code, for the five with the most of at least three.
-- amount: Amount of the last of them, in major units of its currency.
SELECT o.code AS label_order, o."currencyCode" AS label_currency, count(*) AS value,
       (array_agg(p.amount ORDER BY p.id DESC))[1] / current_setting('toban.unit')::numeric AS amount
FROM payment p JOIN "order" o ON o.id = p."orderId"
WHERE <newest payments> p."createdAt" > localtimestamp - interval '1 hour' AND p.state IN ('Declined', 'Error')
GROUP BY 1, 2 HAVING count(*) >= 3 ORDER BY 3 DESC, 1 LIMIT 5;

-- query: vendure_carts
-- present: while there is a cart
-- interval: 5m
-- needs: order order_line money
-- value: Carts with at least one item.
-- abandoned: Carts that did not change for a day.
-- amount: Total of all carts, in major units of their currency, without tax.
SELECT o."currencyCode" AS label_currency, count(*) AS value,
       count(*) FILTER (WHERE o."updatedAt" < localtimestamp - interval '1 day') AS abandoned,
       sum(o."subTotal") / current_setting('toban.unit')::numeric AS amount
FROM "order" o
WHERE o."orderPlacedAt" IS NULL AND o.active AND o.state IN ('AddingItems', 'ArrangingPayment') AND o.type <> 'Seller'
  AND EXISTS (SELECT FROM order_line l WHERE l."orderId" = o.id AND l.quantity > 0)
GROUP BY 1;

-- query: vendure_refunds
-- interval: 5m
-- needs: refund
-- value: Refunds by state; pending and failed ones need attention.
-- oldest_seconds: Age of the oldest of them.
SELECT states.state AS label_state, count(refund.state) AS value,
       coalesce(extract(epoch FROM localtimestamp - min(refund."createdAt")), 0) AS oldest_seconds
FROM (VALUES ('Pending'), ('Failed')) states (state) LEFT JOIN refund ON refund.state = states.state GROUP BY 1;

-- query: vendure_jobs
-- present: once there was a job
-- needs: job_record
-- waiting: Jobs that wait to be started, by queue.
-- oldest_waiting_seconds: Age of the oldest job that waits to be started, by queue.
-- running: Jobs that are running, by queue.
-- retrying: Jobs that failed and wait to be retried, by queue.
-- longest_running_seconds: How long the job that was started first has been running, by queue.
SELECT "queueName" AS label_queue,
       count(*) FILTER (WHERE state = 'PENDING') AS waiting,
       count(*) FILTER (WHERE state = 'RUNNING') AS running,
       count(*) FILTER (WHERE state = 'RETRYING') AS retrying,
       coalesce(extract(epoch FROM localtimestamp - min("createdAt") FILTER (WHERE state = 'PENDING')), 0)
         AS oldest_waiting_seconds,
       coalesce(extract(epoch FROM now() - min("startedAt" AT TIME ZONE current_setting('toban.zone'))
         FILTER (WHERE state = 'RUNNING')), 0) AS longest_running_seconds
FROM job_record GROUP BY 1;

-- query: vendure_scheduled_task
-- present: once a task is known
-- present last_executed_age_seconds: once the task has run
-- interval: 1m
-- needs: scheduled_task_record
-- enabled: Whether a scheduled task is enabled (1) or not (0).
-- failed: Whether its last run failed (1) or not (0).
-- locked_seconds: How long a task has been locked; zero while it isn't.
-- last_executed_age_seconds: Time since the last run of a task.
SELECT "taskId" AS label_task, enabled::int AS enabled,
       CASE WHEN json_typeof("lastResult") = 'object' AND "lastResult" ->> 'error' IS NOT NULL THEN 1 ELSE 0 END AS failed,
       coalesce(extract(epoch FROM now() - "lockedAt" AT TIME ZONE current_setting('toban.zone')), 0)
         AS locked_seconds,
       extract(epoch FROM now() - "lastExecutedAt" AT TIME ZONE current_setting('toban.zone'))
         AS last_executed_age_seconds
FROM scheduled_task_record;

-- query: vendure_stock
-- interval: 5m
-- needs: stock_level product_variant product global_settings
-- low: Variants of which no more than five can be sold.
-- out: Variants of which none can be sold.
-- negative: Variants of which more were sold than are in stock.
WITH stock AS (
    SELECT sum(sl."stockOnHand" - sl."stockAllocated")
           - CASE WHEN pv."useGlobalOutOfStockThreshold" THEN gs."outOfStockThreshold" ELSE pv."outOfStockThreshold" END
           AS left_over, sum(sl."stockOnHand") AS on_hand
    FROM stock_level sl
    JOIN product_variant pv ON pv.id = sl."productVariantId"
    JOIN product p ON p.id = pv."productId"
    CROSS JOIN (SELECT "trackInventory", "outOfStockThreshold" FROM global_settings ORDER BY "createdAt" LIMIT 1) gs
    WHERE pv."deletedAt" IS NULL AND p."deletedAt" IS NULL AND pv.enabled AND p.enabled
      AND (pv."trackInventory" = 'TRUE' OR (pv."trackInventory" = 'INHERIT' AND gs."trackInventory"))
    GROUP BY pv.id, gs."outOfStockThreshold"
)
SELECT count(*) FILTER (WHERE left_over <= 5) AS low, count(*) FILTER (WHERE left_over <= 0) AS out,
       count(*) FILTER (WHERE on_hand < 0) AS negative
FROM stock;

-- query: vendure_variants
-- interval: 5m
-- needs: product_variant product product_variant_price
-- free: Variants with the price 0 in a channel.
SELECT count(DISTINCT pv.id) AS free
FROM product_variant_price price
JOIN product_variant pv ON pv.id = price."variantId"
JOIN product p ON p.id = pv."productId"
WHERE price.price <= 0 AND pv."deletedAt" IS NULL AND p."deletedAt" IS NULL AND pv.enabled AND p.enabled;

-- query: vendure_sessions
-- interval: 10m
-- needs: session
-- value: Sessions in the table, by type.
-- expired: Expired sessions that were not deleted.
SELECT type AS label_type, count(session.type) AS value,
       count(*) FILTER (WHERE expires < now() AT TIME ZONE current_setting('toban.zone')) AS expired
FROM (VALUES ('AuthenticatedSession'), ('AnonymousSession')) types (type) FULL JOIN session USING (type) GROUP BY 1;

-- query: vendure_search_index
-- interval: 10m
-- needs: search_index_item product_variant product
-- variants: Variants that can be bought.
-- missing: Variants that can be bought and are not in the search index.
SELECT count(*) AS variants,
       count(*) FILTER (WHERE NOT EXISTS (SELECT FROM search_index_item s WHERE s."productVariantId" = pv.id)) AS missing
FROM product_variant pv JOIN product p ON p.id = pv."productId"
WHERE pv."deletedAt" IS NULL AND p."deletedAt" IS NULL AND pv.enabled AND p.enabled;

-- query: vendure_stock_lowest
-- present: while the stock of a variant is tracked
-- interval: 10m
-- needs: stock_level product_variant product global_settings
-- value: Saleable stock of a variant, for the ten with the least.
SELECT pv.sku AS label_sku, pv.id::text AS label_variant, sum(sl."stockOnHand" - sl."stockAllocated")
       - CASE WHEN pv."useGlobalOutOfStockThreshold" THEN gs."outOfStockThreshold" ELSE pv."outOfStockThreshold" END
       AS value
FROM stock_level sl
JOIN product_variant pv ON pv.id = sl."productVariantId"
JOIN product p ON p.id = pv."productId"
CROSS JOIN (SELECT "trackInventory", "outOfStockThreshold" FROM global_settings ORDER BY "createdAt" LIMIT 1) gs
WHERE pv."deletedAt" IS NULL AND p."deletedAt" IS NULL AND pv.enabled AND p.enabled
  AND (pv."trackInventory" = 'TRUE' OR (pv."trackInventory" = 'INHERIT' AND gs."trackInventory"))
GROUP BY pv.id, pv.sku, gs."outOfStockThreshold"
ORDER BY 3, pv.sku LIMIT 10;

-- query: vendure_newest_order
-- present: once an order was placed
-- needs: order
-- age_seconds: Time since the newest order was placed.
SELECT extract(epoch FROM now() - max("orderPlacedAt") AT TIME ZONE current_setting('toban.zone')) AS age_seconds
FROM "order";
