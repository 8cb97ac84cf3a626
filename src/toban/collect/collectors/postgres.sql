-- Queries of PostgreSQL. collect/sql_metrics.py documents the format: a name, the interval (default: each collection),
-- the major versions, what the server must have, a help text for each metric, when it exists if it doesn't always, and
-- the query.
--
-- Every query is cheap, bounded, and waits for no lock. toban's own sessions are not counted, except in the use of the
-- connection limit. A session of another role is hidden (its state is NULL) unless toban's role has pg_monitor;
-- background processes have no user or no database.

-- query: postgres
-- active_connections: Client sessions that are executing a statement.
-- connections_used: Client sessions, toban's included: the server's limit applies to them.
-- connections_limit: Client sessions that ordinary roles may have in all before new ones are rejected.
-- connections_reserved: Client sessions that are reserved for superusers and roles with pg_use_reserved_connections.
-- idle_in_transaction_sessions: Client sessions that keep a transaction open and do nothing.
-- longest_idle_in_transaction_seconds: Idle time of the one that has been idle for longest.
-- longest_transaction_seconds: Age of the oldest transaction of a client.
-- longest_statement_seconds: Age of the oldest running statement of a client.
-- blocked_sessions: Client sessions that wait for a lock.
-- longest_lock_wait_seconds: Age of the oldest statement that waits for a lock.
-- hidden_sessions: Client sessions whose state toban's role may not read.
-- standby: Whether the server is a standby (1) or not (0).
-- start_time_seconds: Start time of the server, in seconds since the epoch.
WITH clients AS MATERIALIZED (
    SELECT *, pid <> pg_backend_pid() AND application_name <> 'toban' AS others
    FROM pg_stat_activity
    WHERE backend_type = 'client backend' OR (backend_type IS NULL AND usename IS NOT NULL AND datid IS NOT NULL)
), seen AS (
    -- Where nobody's state can be seen, nought would be a lie.
    SELECT count(*) FILTER (WHERE state IS NOT NULL) > 0 OR count(*) = 0 AS any FROM clients WHERE others
), slots AS (
    SELECT current_setting('max_connections')::int AS all,
        current_setting('superuser_reserved_connections')::int
            + coalesce(current_setting('reserved_connections', true), '0')::int AS reserved
)
SELECT
    CASE WHEN seen.any THEN count(*) FILTER (WHERE others AND state IN ('active', 'fastpath function call')) END
        AS active_connections,
    count(clients.pid) AS connections_used,
    slots.all - slots.reserved AS connections_limit,
    slots.reserved AS connections_reserved,
    CASE WHEN seen.any THEN count(*) FILTER (WHERE others AND state LIKE 'idle in transaction%') END
        AS idle_in_transaction_sessions,
    CASE WHEN seen.any THEN greatest(0, coalesce(extract(epoch FROM max(now() - state_change)
        FILTER (WHERE others AND state LIKE 'idle in transaction%')), 0)) END AS longest_idle_in_transaction_seconds,
    CASE WHEN seen.any THEN greatest(0, coalesce(extract(epoch FROM max(now() - xact_start)
        FILTER (WHERE others)), 0)) END AS longest_transaction_seconds,
    CASE WHEN seen.any THEN greatest(0, coalesce(extract(epoch FROM max(now() - query_start)
        FILTER (WHERE others AND state = 'active')), 0)) END AS longest_statement_seconds,
    CASE WHEN seen.any THEN count(*) FILTER (WHERE others AND wait_event_type = 'Lock') END AS blocked_sessions,
    CASE WHEN seen.any THEN greatest(0, coalesce(extract(epoch FROM max(now() - query_start)
        FILTER (WHERE others AND wait_event_type = 'Lock')), 0)) END AS longest_lock_wait_seconds,
    count(*) FILTER (WHERE others AND state IS NULL) AS hidden_sessions,
    pg_is_in_recovery()::int AS standby,
    extract(epoch FROM pg_postmaster_start_time()) AS start_time_seconds
FROM seen CROSS JOIN slots LEFT JOIN clients ON true
GROUP BY seen.any, slots.all, slots.reserved;

-- query: postgres_connection_pool_size
-- value: Connections of the shop's pools by state: total, idle, waiting; as the shop counts them, else as the server does.
WITH pool AS (
    SELECT state FROM pg_stat_activity
    WHERE datname = current_database() AND usename IS NOT NULL
        AND coalesce(backend_type, 'client backend') = 'client backend'
        AND pid <> pg_backend_pid() AND application_name <> 'toban'
)
SELECT 'total' AS label_state, count(*) AS value FROM pool
UNION ALL
SELECT 'idle', CASE WHEN count(*) = 0 OR count(state) > 0 THEN count(*) FILTER (WHERE state = 'idle') END FROM pool;

-- query: postgres_connections
-- present: while a client is connected
-- value: Client sessions by state and application; all but the 50 largest applications are counted as other.
WITH clients AS (
    SELECT coalesce(state, 'hidden') AS state, coalesce(nullif(application_name, ''), 'unknown') AS application
    FROM pg_stat_activity
    WHERE (backend_type = 'client backend' OR (backend_type IS NULL AND usename IS NOT NULL AND datid IS NOT NULL))
        AND pid <> pg_backend_pid() AND application_name <> 'toban'
), largest AS (
    SELECT application FROM clients GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT 50
)
SELECT state AS label_state, coalesce(largest.application, 'other') AS label_application, count(*) AS value
FROM clients LEFT JOIN largest USING (application)
GROUP BY 1, 2;

-- query: postgres_database
-- present statistics_reset_time_seconds: once they were reset
-- transactions_committed_total: Committed transactions of this database.
-- transactions_rolled_back_total: Rolled back transactions of this database.
-- blocks_hit_total: Blocks found in the server's buffer cache.
-- blocks_read_total: Blocks not found there and read.
-- cache_hit_ratio: Share of the blocks found in the server's buffer cache, since its statistics were reset.
-- rows_returned_total: Rows read by scans.
-- rows_fetched_total: Rows fetched by index.
-- rows_inserted_total: Inserted rows.
-- rows_updated_total: Updated rows.
-- rows_deleted_total: Deleted rows.
-- deadlocks_total: Detected deadlocks.
-- conflicts_total: Statements that were cancelled because they conflicted with recovery (on a standby).
-- temporary_files_total: Temporary files that statements wrote because work_mem did not suffice.
-- temporary_bytes_total: Bytes that statements wrote to temporary files.
-- block_read_seconds_total: Time spent reading blocks; zero unless track_io_timing is on.
-- block_write_seconds_total: Time spent writing blocks; zero unless track_io_timing is on.
-- checksum_failures_total: Blocks whose checksum was wrong; absent where the server has no checksums.
-- sessions_total: Started sessions.
-- sessions_abandoned_total: Sessions that ended because the connection to the client was lost.
-- sessions_fatal_total: Sessions that ended with a fatal error.
-- sessions_killed_total: Sessions that an operator terminated.
-- statistics_reset_time_seconds: When the statistics of this database were reset, since the epoch.
SELECT
    xact_commit AS transactions_committed_total,
    xact_rollback AS transactions_rolled_back_total,
    blks_hit AS blocks_hit_total,
    blks_read AS blocks_read_total,
    blks_hit / nullif(blks_hit + blks_read, 0)::float AS cache_hit_ratio,
    tup_returned AS rows_returned_total,
    tup_fetched AS rows_fetched_total,
    tup_inserted AS rows_inserted_total,
    tup_updated AS rows_updated_total,
    tup_deleted AS rows_deleted_total,
    deadlocks AS deadlocks_total,
    conflicts AS conflicts_total,
    temp_files AS temporary_files_total,
    temp_bytes AS temporary_bytes_total,
    blk_read_time / 1000 AS block_read_seconds_total,
    blk_write_time / 1000 AS block_write_seconds_total,
    checksum_failures AS checksum_failures_total,
    sessions AS sessions_total,
    sessions_abandoned AS sessions_abandoned_total,
    sessions_fatal AS sessions_fatal_total,
    sessions_killed AS sessions_killed_total,
    extract(epoch FROM stats_reset) AS statistics_reset_time_seconds
FROM pg_stat_database WHERE datname = current_database();

-- query: postgres_locks
-- held: Held locks, by mode.
-- waiting: Requested locks that are not granted yet, by mode.
SELECT modes.mode AS label_mode, count(*) FILTER (WHERE granted) AS held,
    count(*) FILTER (WHERE NOT granted) AS waiting
FROM unnest(ARRAY[
    'AccessShareLock', 'RowShareLock', 'RowExclusiveLock', 'ShareUpdateExclusiveLock',
    'ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock'
]) AS modes(mode)
LEFT JOIN (
    SELECT locks.mode, granted FROM pg_locks AS locks LEFT JOIN pg_stat_activity AS activity USING (pid)
    WHERE pid IS DISTINCT FROM pg_backend_pid() AND application_name IS DISTINCT FROM 'toban'
) AS locks USING (mode)
GROUP BY 1;

-- query: postgres_blocking
-- present: while a session waits for a lock
-- needs: waiting
-- sessions: Sessions that wait for a lock, by the user and the application of the sessions that block them.
-- longest_seconds: Waiting time of the one that has been waiting for longest.
WITH waiting AS MATERIALIZED (
    SELECT pid, min(waitstart) AS since FROM pg_locks WHERE NOT granted AND pid <> pg_backend_pid()
    GROUP BY pid ORDER BY since NULLS LAST LIMIT 50
), pairs AS MATERIALIZED (
    SELECT DISTINCT waiting.pid, since, blocker FROM waiting, unnest(pg_blocking_pids(waiting.pid)) AS blocker
)
SELECT
    CASE WHEN blocker = 0 THEN 'prepared transaction' ELSE coalesce(usename, 'unknown') END AS label_user,
    coalesce(nullif(application_name, ''), 'unknown') AS label_application,
    count(DISTINCT pairs.pid) AS sessions,
    greatest(0, coalesce(extract(epoch FROM max(now() - since)), 0)) AS longest_seconds
FROM pairs LEFT JOIN pg_stat_activity AS activity ON activity.pid = blocker
GROUP BY 1, 2 ORDER BY 3 DESC LIMIT 20;

-- query: postgres_replication
-- present: while a standby follows
-- needs: primary
-- standbys: Standbys and other receivers of this server, by application.
-- lag_bytes: Bytes of WAL that the one furthest behind has yet to replay.
-- replay_lag_seconds: Age of the newest change that the one furthest behind has replayed.
SELECT coalesce(nullif(application_name, ''), 'unknown') AS label_application,
    count(*) AS standbys,
    max(pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)) AS lag_bytes,
    extract(epoch FROM max(replay_lag)) AS replay_lag_seconds
FROM pg_stat_replication GROUP BY 1 ORDER BY 2 DESC LIMIT 20;

-- query: postgres_standby
-- present: while the server is a standby
-- needs: standby
-- lag_seconds: Lag of this standby: zero while it is connected and has replayed all that it received.
-- receiving: Whether it is connected to its primary (1) or not (0).
SELECT
    CASE WHEN receiving > 0 AND pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN 0
        -- Cut off, nobody knows what it lacks: at most what was written since its newest change.
        ELSE extract(epoch FROM now() - pg_last_xact_replay_timestamp()) END AS lag_seconds,
    receiving
FROM (SELECT count(*) AS receiving FROM pg_stat_wal_receiver WHERE pid IS NOT NULL) AS receivers;

-- query: postgres_replication_slot
-- present: while there is a slot
-- present safe_bytes: while there is a slot with a size limit
-- active: Whether the slot has a consumer (1) or not (0): a slot without one fills the disk.
-- retained_bytes: Bytes of WAL that the slot retains.
-- safe_bytes: Bytes that may be written until the slot is invalidated; absent where it never is.
-- lost: Whether the slot was invalidated, so that its consumer must start anew (1), or not (0).
SELECT slot_name AS label_slot, active::int AS active,
    pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn() ELSE pg_current_wal_lsn() END,
        restart_lsn) AS retained_bytes,
    safe_wal_size AS safe_bytes,
    coalesce(wal_status = 'lost', false)::int AS lost
FROM pg_replication_slots ORDER BY 3 DESC NULLS LAST LIMIT 20;

-- query: postgres_prepared_transactions
-- interval: 1m
-- value: Prepared transactions that are neither committed nor rolled back; each holds its locks.
-- oldest_seconds: Age of the oldest of them.
SELECT count(*) AS value, greatest(0, coalesce(extract(epoch FROM max(now() - prepared)), 0)) AS oldest_seconds
FROM pg_prepared_xacts;

-- query: postgres_checkpoints
-- interval: 1m
-- versions: -16
-- timed_total: Checkpoints at the timeout.
-- requested_total: Checkpoints because much had been written, or by request.
-- write_seconds_total: Time that checkpoints spent writing.
-- sync_seconds_total: Time that checkpoints spent syncing to disk.
-- blocks_written_total: Blocks that checkpoints wrote.
SELECT checkpoints_timed AS timed_total, checkpoints_req AS requested_total,
    checkpoint_write_time / 1000 AS write_seconds_total, checkpoint_sync_time / 1000 AS sync_seconds_total,
    buffers_checkpoint AS blocks_written_total
FROM pg_stat_bgwriter;

-- query: postgres_checkpoints
-- interval: 1m
-- versions: 17-
-- timed_total: Checkpoints at the timeout.
-- requested_total: Checkpoints because much had been written, or by request.
-- write_seconds_total: Time that checkpoints spent writing.
-- sync_seconds_total: Time that checkpoints spent syncing to disk.
-- blocks_written_total: Blocks that checkpoints wrote.
SELECT num_timed AS timed_total, num_requested AS requested_total,
    write_time / 1000 AS write_seconds_total, sync_time / 1000 AS sync_seconds_total,
    buffers_written AS blocks_written_total
FROM pg_stat_checkpointer;

-- query: postgres_background_writer
-- interval: 1m
-- blocks_written_total: Blocks that the background writer wrote.
-- stopped_early_total: Rounds that it stopped because it had written its limit.
-- blocks_allocated_total: Allocated blocks of the buffer cache.
SELECT buffers_clean AS blocks_written_total, maxwritten_clean AS stopped_early_total,
    buffers_alloc AS blocks_allocated_total
FROM pg_stat_bgwriter;

-- query: postgres_log
-- interval: 1m
-- records_total: Records written to the write-ahead log.
-- bytes_total: Bytes written to the write-ahead log.
SELECT wal_records AS records_total, wal_bytes AS bytes_total FROM pg_stat_wal;

-- query: postgres_archiver
-- present last_archived_time_seconds: once a segment was archived
-- present last_failed_time_seconds: once archiving a segment has failed
-- interval: 1m
-- archived_total: Archived WAL segments.
-- failed_total: Failed attempts to archive a WAL segment.
-- last_archived_time_seconds: Time of the last archived segment, in seconds since the epoch.
-- last_failed_time_seconds: Time of the last failure, in seconds since the epoch.
SELECT archived_count AS archived_total, failed_count AS failed_total,
    extract(epoch FROM last_archived_time) AS last_archived_time_seconds,
    extract(epoch FROM last_failed_time) AS last_failed_time_seconds
FROM pg_stat_archiver;

-- query: postgres_statement
-- present: once a statement was executed
-- interval: 1m
-- needs: pg_stat_statements
-- calls_total: Executions of a statement, for the 20 with the most time in all.
-- seconds_total: Total time of its executions.
-- rows_total: Rows that it returned or changed.
-- blocks_hit_total: Blocks that it found in the buffer cache.
-- blocks_read_total: Blocks that it did not find there.
-- temporary_blocks_written_total: Temporary blocks that it wrote because work_mem did not suffice.
-- Without the texts (false), which the server would have to read from a file.
SELECT queryid AS label_queryid, sum(calls) AS calls_total, sum(total_exec_time) / 1000 AS seconds_total,
    sum(rows) AS rows_total, sum(shared_blks_hit) AS blocks_hit_total, sum(shared_blks_read) AS blocks_read_total,
    sum(temp_blks_written) AS temporary_blocks_written_total
FROM pg_stat_statements(false)
WHERE queryid IS NOT NULL AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
GROUP BY 1 ORDER BY sum(total_exec_time) DESC, 1 LIMIT 20;

-- query: postgres_tables
-- interval: 5m
-- live_rows: Live rows of all tables, estimated by the server.
-- dead_rows: Dead rows of all tables that were not vacuumed yet.
-- invalid_indexes: Indexes that cost writes and serve no query, as a failed REINDEX CONCURRENTLY leaves them.
SELECT coalesce(sum(n_live_tup), 0) AS live_rows, coalesce(sum(n_dead_tup), 0) AS dead_rows,
    (SELECT count(*) FROM pg_index WHERE NOT indisvalid) AS invalid_indexes
FROM pg_stat_user_tables;

-- query: postgres_table
-- present: once there is a table
-- present last_vacuum_time_seconds: once the table was vacuumed
-- present last_analyze_time_seconds: once the table was analyzed
-- interval: 5m
-- live_rows: Live rows of a table, estimated by the server, for the 50 with the most dead rows or the greatest size.
-- dead_rows: Dead rows of it that were not vacuumed yet.
-- changed_rows: Rows of it that changed since it was last analyzed.
-- sequential_scans_total: Sequential scans of it.
-- index_scans_total: Scans of its indexes.
-- last_vacuum_time_seconds: Time of its last vacuum, manual or automatic, in seconds since the epoch.
-- last_analyze_time_seconds: Time of its last analyze, manual or automatic, in seconds since the epoch.
WITH ranked AS (
    SELECT stat.*, least(
        row_number() OVER (ORDER BY n_dead_tup DESC, stat.relid),
        row_number() OVER (ORDER BY relpages DESC, stat.relid)
    ) AS rank
    FROM pg_stat_user_tables AS stat JOIN pg_class ON pg_class.oid = stat.relid
)
SELECT schemaname AS label_schema, relname AS label_table, n_live_tup AS live_rows, n_dead_tup AS dead_rows,
    n_mod_since_analyze AS changed_rows, seq_scan AS sequential_scans_total, idx_scan AS index_scans_total,
    extract(epoch FROM greatest(last_vacuum, last_autovacuum)) AS last_vacuum_time_seconds,
    extract(epoch FROM greatest(last_analyze, last_autoanalyze)) AS last_analyze_time_seconds
FROM ranked ORDER BY rank, relid LIMIT 50;

-- query: postgres_table_size
-- present: once there is a table
-- interval: 5m
-- bytes: Size of a table with its indexes, for the 50 largest; absent while it is locked exclusively.
-- Reading a size takes a lock that waits for an exclusive one: such tables are left out.
WITH largest AS MATERIALIZED (
    SELECT class.oid, nspname, relname
    FROM pg_class AS class JOIN pg_namespace AS namespace ON namespace.oid = relnamespace
    WHERE relkind IN ('r', 'm') AND nspname NOT IN ('pg_catalog', 'information_schema') AND NOT EXISTS (
        SELECT FROM pg_locks LEFT JOIN pg_index ON indexrelid = relation
        WHERE mode = 'AccessExclusiveLock' AND coalesce(indrelid, relation) = class.oid
    )
    ORDER BY relpages DESC, class.oid LIMIT 50
)
SELECT nspname AS label_schema, relname AS label_table, pg_total_relation_size(oid) AS bytes FROM largest;

-- query: postgres_database_size
-- interval: 5m
-- bytes: Size of this database.
SELECT pg_database_size(current_database()) AS bytes;

-- query: postgres_wraparound
-- interval: 5m
-- transactions: Transactions since the oldest unfrozen one, of the database furthest behind.
-- multixacts: The same for multixacts, which are shared row locks.
-- transactions_limit: Where the server begins to freeze by itself; it stops accepting writes at 2,000 million.
-- multixacts_limit: The same for multixacts.
SELECT max(age(datfrozenxid)) AS transactions, max(mxid_age(datminmxid)) AS multixacts,
    current_setting('autovacuum_freeze_max_age')::float AS transactions_limit,
    current_setting('autovacuum_multixact_freeze_max_age')::float AS multixacts_limit
FROM pg_database WHERE datallowconn;

-- query: postgres_setting
-- interval: 5m
-- autovacuum: Whether autovacuum is on (1) or not (0).
-- track_io_timing: Whether track_io_timing is on (1) or not (0).
-- shared_buffers_bytes: Size of the buffer cache.
-- work_mem_bytes: Memory that one step of a statement may use before it writes to disk.
SELECT current_setting('autovacuum')::bool::int AS autovacuum,
    current_setting('track_io_timing')::bool::int AS track_io_timing,
    pg_size_bytes(current_setting('shared_buffers')) AS shared_buffers_bytes,
    pg_size_bytes(current_setting('work_mem')) AS work_mem_bytes;

-- query: postgres_info
-- interval: 5m
-- value: The version of the server; always 1.
SELECT split_part(current_setting('server_version'), ' ', 1) AS label_version, 1 AS value;
