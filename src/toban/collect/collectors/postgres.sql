-- What toban asks of PostgreSQL. The form is told in collect/sql_metrics.py: a name, how often (each look unless said),
-- for which major versions, what the server must have, a sentence for each number, when it is there if it isn't always, and the query.
--
-- Every query is cheap, bounded, and waits for no lock. toban's own sessions are left out of what it counts, except
-- where the question is how full the server is. A session of another role is hidden (its state is NULL) unless
-- toban's role has pg_monitor; background processes have no user or no database.

-- query: postgres
-- active_connections: Client sessions that are executing a statement.
-- connections_used: Client sessions of everybody, toban included: what the server's limit is about.
-- connections_limit: Client sessions that an ordinary role may have in all before it is refused.
-- connections_reserved: Client sessions that are kept for superusers and roles with pg_use_reserved_connections.
-- idle_in_transaction_sessions: Client sessions that keep a transaction open and do nothing.
-- longest_idle_in_transaction_seconds: How long the longest of them has been doing nothing.
-- longest_transaction_seconds: Age of the oldest transaction of a client.
-- longest_statement_seconds: Age of the oldest statement that is still being executed for a client.
-- blocked_sessions: Client sessions that wait for a lock.
-- longest_lock_wait_seconds: Age of the oldest statement that waits for a lock.
-- hidden_sessions: Client sessions whose state toban's role may not see.
-- standby: Whether the server is a standby that follows another one (1) or not (0).
-- start_time_seconds: When the server was started, since the epoch.
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
-- value: Connections of the shop's pools: all, those not at work, and who waits for one; as the shop counts them, else as the server.
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
-- value: Client sessions by state and application; all but the 50 largest applications are called other.
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
-- transactions_committed_total: Transactions of this database that were committed.
-- transactions_rolled_back_total: Transactions of this database that were rolled back.
-- blocks_hit_total: Blocks that were found in the server's own cache.
-- blocks_read_total: Blocks that were not found there and had to be asked for.
-- cache_hit_ratio: Share of the blocks that were found in the server's own cache, since its statistics were reset.
-- rows_returned_total: Rows that scans looked at.
-- rows_fetched_total: Rows that were fetched by index.
-- rows_inserted_total: Rows that were inserted.
-- rows_updated_total: Rows that were updated.
-- rows_deleted_total: Rows that were deleted.
-- deadlocks_total: Deadlocks that were found.
-- conflicts_total: Statements that were cancelled because they stood in the way of recovery (on a standby).
-- temporary_files_total: Files that statements wrote because their memory (work_mem) did not suffice.
-- temporary_bytes_total: Bytes that statements wrote into such files.
-- block_read_seconds_total: Time spent reading blocks; nought unless track_io_timing is on.
-- block_write_seconds_total: Time spent writing blocks; nought unless track_io_timing is on.
-- checksum_failures_total: Blocks whose checksum was wrong; absent where the server keeps no checksums.
-- sessions_total: Sessions that were begun.
-- sessions_abandoned_total: Sessions that ended because the connection to the client was lost.
-- sessions_fatal_total: Sessions that ended with a fatal error.
-- sessions_killed_total: Sessions that an operator ended.
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
-- held: Locks that are held, by mode.
-- waiting: Locks that are waited for, by mode.
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
-- sessions: Sessions that wait for a lock, by the user and the application whose sessions stand in their way.
-- longest_seconds: How long the longest of them has been waiting.
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
-- standbys: Standbys and other receivers that follow this server, by application.
-- lag_bytes: How much of the log the furthest behind of them has yet to replay.
-- replay_lag_seconds: How long ago the newest change that the furthest behind of them has replayed was written.
SELECT coalesce(nullif(application_name, ''), 'unknown') AS label_application,
    count(*) AS standbys,
    max(pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)) AS lag_bytes,
    extract(epoch FROM max(replay_lag)) AS replay_lag_seconds
FROM pg_stat_replication GROUP BY 1 ORDER BY 2 DESC LIMIT 20;

-- query: postgres_standby
-- present: while the server is a standby
-- needs: standby
-- lag_seconds: How far this standby is behind: nought while it is connected and has replayed all that it received.
-- receiving: Whether it is connected to the server that it follows (1) or not (0).
SELECT
    CASE WHEN receiving > 0 AND pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN 0
        -- Cut off, nobody knows what it lacks: at most what was written since its newest change.
        ELSE extract(epoch FROM now() - pg_last_xact_replay_timestamp()) END AS lag_seconds,
    receiving
FROM (SELECT count(*) AS receiving FROM pg_stat_wal_receiver WHERE pid IS NOT NULL) AS receivers;

-- query: postgres_replication_slot
-- present: while there is a slot
-- present safe_bytes: while there is a slot that is given up at some size
-- active: Whether somebody reads from the slot (1) or not (0): a slot that nobody reads fills the disk.
-- retained_bytes: How much of the log the slot keeps from being deleted.
-- safe_bytes: How much more may be written before the slot is given up; absent where it never is.
-- lost: Whether the slot was given up, so that its reader must begin anew (1), or not (0).
SELECT slot_name AS label_slot, active::int AS active,
    pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn() ELSE pg_current_wal_lsn() END,
        restart_lsn) AS retained_bytes,
    safe_wal_size AS safe_bytes,
    coalesce(wal_status = 'lost', false)::int AS lost
FROM pg_replication_slots ORDER BY 3 DESC NULLS LAST LIMIT 20;

-- query: postgres_prepared_transactions
-- interval: 1m
-- value: Prepared transactions that are neither committed nor rolled back; each keeps its locks.
-- oldest_seconds: Age of the oldest of them.
SELECT count(*) AS value, greatest(0, coalesce(extract(epoch FROM max(now() - prepared)), 0)) AS oldest_seconds
FROM pg_prepared_xacts;

-- query: postgres_checkpoints
-- interval: 1m
-- versions: -16
-- timed_total: Checkpoints that took place because it was time.
-- requested_total: Checkpoints that took place because much had been written, or because somebody asked.
-- write_seconds_total: Time that checkpoints spent writing.
-- sync_seconds_total: Time that checkpoints spent making sure of what they wrote.
-- blocks_written_total: Blocks that checkpoints wrote.
SELECT checkpoints_timed AS timed_total, checkpoints_req AS requested_total,
    checkpoint_write_time / 1000 AS write_seconds_total, checkpoint_sync_time / 1000 AS sync_seconds_total,
    buffers_checkpoint AS blocks_written_total
FROM pg_stat_bgwriter;

-- query: postgres_checkpoints
-- interval: 1m
-- versions: 17-
-- timed_total: Checkpoints that took place because it was time.
-- requested_total: Checkpoints that took place because much had been written, or because somebody asked.
-- write_seconds_total: Time that checkpoints spent writing.
-- sync_seconds_total: Time that checkpoints spent making sure of what they wrote.
-- blocks_written_total: Blocks that checkpoints wrote.
SELECT num_timed AS timed_total, num_requested AS requested_total,
    write_time / 1000 AS write_seconds_total, sync_time / 1000 AS sync_seconds_total,
    buffers_written AS blocks_written_total
FROM pg_stat_checkpointer;

-- query: postgres_background_writer
-- interval: 1m
-- blocks_written_total: Blocks that the background writer wrote.
-- stopped_early_total: Rounds that it ended early because it had written as much as it may.
-- blocks_allocated_total: Blocks of the cache that were given to somebody.
SELECT buffers_clean AS blocks_written_total, maxwritten_clean AS stopped_early_total,
    buffers_alloc AS blocks_allocated_total
FROM pg_stat_bgwriter;

-- query: postgres_log
-- interval: 1m
-- records_total: Records written to the write-ahead log.
-- bytes_total: Bytes written to the write-ahead log.
SELECT wal_records AS records_total, wal_bytes AS bytes_total FROM pg_stat_wal;

-- query: postgres_archiver
-- present last_archived_time_seconds: once a file was archived
-- present last_failed_time_seconds: once archiving a file has failed
-- interval: 1m
-- archived_total: Files of the log that were archived.
-- failed_total: Attempts to archive one that failed.
-- last_archived_time_seconds: When one was last archived, since the epoch.
-- last_failed_time_seconds: When that last failed, since the epoch.
SELECT archived_count AS archived_total, failed_count AS failed_total,
    extract(epoch FROM last_archived_time) AS last_archived_time_seconds,
    extract(epoch FROM last_failed_time) AS last_failed_time_seconds
FROM pg_stat_archiver;

-- query: postgres_statement
-- present: once a statement was executed
-- interval: 1m
-- needs: pg_stat_statements
-- calls_total: Times that a statement was executed, for the 20 that took most time in all.
-- seconds_total: Time that its executions took in all.
-- rows_total: Rows that it returned or changed.
-- blocks_hit_total: Blocks that it found in the server's own cache.
-- blocks_read_total: Blocks that it did not find there.
-- temporary_blocks_written_total: Blocks that it wrote because its memory did not suffice.
-- Without the texts (false), which the server would have to read from a file.
SELECT queryid AS label_queryid, sum(calls) AS calls_total, sum(total_exec_time) / 1000 AS seconds_total,
    sum(rows) AS rows_total, sum(shared_blks_hit) AS blocks_hit_total, sum(shared_blks_read) AS blocks_read_total,
    sum(temp_blks_written) AS temporary_blocks_written_total
FROM pg_stat_statements(false)
WHERE queryid IS NOT NULL AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
GROUP BY 1 ORDER BY sum(total_exec_time) DESC, 1 LIMIT 20;

-- query: postgres_tables
-- interval: 5m
-- live_rows: Rows of all tables, as the server estimates them.
-- dead_rows: Rows of all tables that are dead and not vacuumed away.
-- invalid_indexes: Indexes that cost writes and answer nothing, such as a REINDEX CONCURRENTLY leaves when it fails.
SELECT coalesce(sum(n_live_tup), 0) AS live_rows, coalesce(sum(n_dead_tup), 0) AS dead_rows,
    (SELECT count(*) FROM pg_index WHERE NOT indisvalid) AS invalid_indexes
FROM pg_stat_user_tables;

-- query: postgres_table
-- present: once there is a table
-- present last_vacuum_time_seconds: once the table was vacuumed
-- present last_analyze_time_seconds: once the table was analyzed
-- interval: 5m
-- live_rows: Rows of a table, as the server estimates them, for the 50 with most dead rows or of greatest size.
-- dead_rows: Rows of it that are dead and not vacuumed away.
-- changed_rows: Rows of it that changed since it was last analyzed.
-- sequential_scans_total: Times that it was read as a whole.
-- index_scans_total: Times that one of its indexes was used.
-- last_vacuum_time_seconds: When it was last vacuumed, by hand or by itself, since the epoch.
-- last_analyze_time_seconds: When it was last analyzed, by hand or by itself, since the epoch.
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
-- bytes: Size of a table with its indexes, for the 50 largest; absent while somebody holds it exclusively.
-- Asking for a size takes a lock that waits for an exclusive one: such tables are left out.
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
-- transactions: Transactions since the oldest one that is not frozen, of the database furthest behind.
-- multixacts: The same for multixacts, which are locks that several share.
-- transactions_limit: Where the server begins to freeze without being asked; it stops writing at 2,000 million.
-- multixacts_limit: The same for multixacts.
SELECT max(age(datfrozenxid)) AS transactions, max(mxid_age(datminmxid)) AS multixacts,
    current_setting('autovacuum_freeze_max_age')::float AS transactions_limit,
    current_setting('autovacuum_multixact_freeze_max_age')::float AS multixacts_limit
FROM pg_database WHERE datallowconn;

-- query: postgres_setting
-- interval: 5m
-- autovacuum: Whether the server vacuums by itself (1) or not (0).
-- track_io_timing: Whether it measures how long reads and writes take (1) or not (0).
-- shared_buffers_bytes: Its own cache.
-- work_mem_bytes: What one step of a statement may use before it writes to disk.
SELECT current_setting('autovacuum')::bool::int AS autovacuum,
    current_setting('track_io_timing')::bool::int AS track_io_timing,
    pg_size_bytes(current_setting('shared_buffers')) AS shared_buffers_bytes,
    pg_size_bytes(current_setting('work_mem')) AS work_mem_bytes;

-- query: postgres_info
-- interval: 5m
-- value: Which PostgreSQL it is; always 1.
SELECT split_part(current_setting('server_version'), ' ', 1) AS label_version, 1 AS value;
