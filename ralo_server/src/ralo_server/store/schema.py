"""The tables of state.db and the steps that bring an older file up to date.

Opening a `Database` runs the scripts that the file lacks, all in one transaction. Nothing else in
the project contains DDL. A script is never edited once it was released: what it made is out there.
"""

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
    CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
    CREATE TABLE problems (
        number INTEGER PRIMARY KEY, id TEXT NOT NULL, body TEXT NOT NULL, state TEXT NOT NULL,
        lease_id TEXT UNIQUE, worker_id TEXT, expires REAL,
        attempts INTEGER NOT NULL DEFAULT 0, reason TEXT NOT NULL DEFAULT '');
    CREATE INDEX problems_by_state ON problems (state, expires);
    CREATE TABLE trees (
        number INTEGER PRIMARY KEY, lease_id TEXT NOT NULL UNIQUE, blob TEXT NOT NULL,
        state TEXT NOT NULL, batch_id TEXT, oldest_version INTEGER NOT NULL, facts TEXT NOT NULL);
    CREATE INDEX trees_by_state ON trees (state, number);
    CREATE INDEX trees_by_batch ON trees (batch_id);
    CREATE TABLE batches (
        id TEXT PRIMARY KEY, worker_id TEXT NOT NULL, state TEXT NOT NULL, expires REAL NOT NULL,
        step INTEGER);
    CREATE INDEX batches_by_state ON batches (state, expires);
    CREATE INDEX batches_by_step ON batches (step, state);
    CREATE TABLE gradients (
        number INTEGER PRIMARY KEY, upload_id TEXT NOT NULL UNIQUE, batch_id TEXT NOT NULL,
        blob TEXT NOT NULL, base_version INTEGER NOT NULL, weight REAL NOT NULL,
        metrics TEXT NOT NULL, state TEXT NOT NULL);
    CREATE INDEX gradients_by_state ON gradients (state, number);
    CREATE TABLE versions (
        number INTEGER PRIMARY KEY, step INTEGER NOT NULL, body TEXT NOT NULL,
        state TEXT NOT NULL);
    CREATE INDEX versions_by_state ON versions (state, number);
    CREATE TABLE steps (
        step INTEGER PRIMARY KEY, metrics TEXT NOT NULL, tracked INTEGER NOT NULL DEFAULT 0);
    CREATE INDEX steps_by_tracked ON steps (tracked, step);
    CREATE TABLE evaluations (
        id TEXT PRIMARY KEY, version INTEGER NOT NULL UNIQUE, state TEXT NOT NULL,
        worker_id TEXT, expires REAL, report TEXT, tracked INTEGER NOT NULL DEFAULT 0);
    CREATE TABLE workers (
        id TEXT PRIMARY KEY, role TEXT NOT NULL, facts TEXT NOT NULL, seen REAL NOT NULL,
        state TEXT NOT NULL);
    """,
    """
    ALTER TABLE problems ADD COLUMN request TEXT;
    CREATE INDEX problems_by_request ON problems (request);
    ALTER TABLE batches ADD COLUMN request TEXT;
    CREATE INDEX batches_by_request ON batches (request);
    ALTER TABLE evaluations ADD COLUMN request TEXT;
    ALTER TABLE evaluations ADD COLUMN lease_id TEXT;
    UPDATE evaluations SET state = 'waiting', worker_id = NULL WHERE state = 'leased';
    """,
    """
    ALTER TABLE versions ADD COLUMN optimizer TEXT NOT NULL DEFAULT '';
    UPDATE versions SET optimizer = (SELECT json_extract(value, '$') FROM facts
        WHERE name = 'optimizer') WHERE number = (SELECT MAX(number) FROM versions)
        AND EXISTS (SELECT 1 FROM facts WHERE name = 'optimizer');
    """,
    """
    ALTER TABLE gradients ADD COLUMN size INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE gradients ADD COLUMN chunk_bytes INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE gradients ADD COLUMN sha256 TEXT NOT NULL DEFAULT '';
    ALTER TABLE gradients ADD COLUMN norm REAL;
    ALTER TABLE gradients ADD COLUMN reason TEXT NOT NULL DEFAULT '';
    ALTER TABLE gradients ADD COLUMN detail TEXT NOT NULL DEFAULT '';
    CREATE TABLE gradient_chunks (
        upload_id TEXT NOT NULL, number INTEGER NOT NULL, sha256 TEXT NOT NULL,
        received INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (upload_id, number)) WITHOUT ROWID;
    """,
    """
    CREATE TABLE rollbacks (
        version INTEGER PRIMARY KEY, target INTEGER NOT NULL, step INTEGER NOT NULL,
        metrics TEXT NOT NULL, tracked INTEGER NOT NULL DEFAULT 0);
    """,
    """
    CREATE TABLE parts (
        sha256 TEXT NOT NULL, version INTEGER NOT NULL, name TEXT NOT NULL, size INTEGER NOT NULL,
        PRIMARY KEY (sha256, version, name)) WITHOUT ROWID;
    CREATE INDEX parts_by_version ON parts (version);
    INSERT INTO parts SELECT json_extract(file.value, '$.sha256'), number,
        json_extract(file.value, '$.name'), json_extract(file.value, '$.size')
        FROM versions, json_each(body, '$.files') AS file WHERE state = 'published';
    CREATE TABLE stored_parts (sha256 TEXT PRIMARY KEY) WITHOUT ROWID;
    CREATE TABLE readers (
        worker_id TEXT PRIMARY KEY, version INTEGER NOT NULL, expires REAL NOT NULL);
    """,
    """
    ALTER TABLE gradients RENAME COLUMN sha256 TO identity;
    ALTER TABLE gradient_chunks RENAME COLUMN sha256 TO digest;
    UPDATE gradients SET state = 'abandoned' WHERE state = 'receiving';
    """,
    """
    CREATE TABLE refused_declarations (upload_id TEXT PRIMARY KEY) WITHOUT ROWID;
    """,
    """
    ALTER TABLE versions ADD COLUMN replay TEXT NOT NULL DEFAULT '[]';
    ALTER TABLE steps ADD COLUMN learning_rate REAL;
    ALTER TABLE steps ADD COLUMN clip REAL;
    ALTER TABLE gradients ADD COLUMN step INTEGER;
    ALTER TABLE gradients ADD COLUMN share REAL;
    CREATE INDEX gradients_by_step ON gradients (step);
    """,
    """
    CREATE TABLE benchmarks (
        name TEXT PRIMARY KEY, position INTEGER NOT NULL, plan TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE benchmark_items (
        benchmark TEXT NOT NULL, number INTEGER NOT NULL, body TEXT NOT NULL,
        PRIMARY KEY (benchmark, number)) WITHOUT ROWID;
    INSERT INTO benchmark_items SELECT 'held_out', item.key, item.value
        FROM facts, json_each(facts.value) AS item WHERE facts.name = 'held_out';
    DELETE FROM facts WHERE name = 'held_out';
    ALTER TABLE evaluations RENAME TO earlier_evaluations;
    CREATE TABLE evaluations (
        id TEXT PRIMARY KEY, version INTEGER NOT NULL, benchmark TEXT NOT NULL,
        state TEXT NOT NULL, plan TEXT NOT NULL, started REAL, report TEXT,
        tracked INTEGER NOT NULL DEFAULT 0, UNIQUE (version, benchmark));
    CREATE INDEX evaluations_by_state ON evaluations (state, version);
    CREATE INDEX evaluations_by_tracked ON evaluations (tracked, state);
    INSERT INTO evaluations SELECT 'eval-' || e.version || '-held_out', e.version, 'held_out',
        CASE e.state WHEN 'reported' THEN 'reported' ELSE 'open' END, '', NULL,
        CASE e.state WHEN 'reported' THEN json_object('version', e.version,
            'step', COALESCE((SELECT step FROM versions WHERE number = e.version), e.version),
            'benchmark', 'held_out', 'items', json_extract(e.report, '$.count'), 'samples', 1,
            'time', json_extract(e.report, '$.time'), 'seconds', 0.0, 'tokens', 0,
            'metrics', json_object('accuracy', json_object(
                'value', json_extract(e.report, '$.accuracy'), 'low', 0.0, 'high', 1.0))) END,
        e.tracked FROM earlier_evaluations e;
    CREATE TABLE evaluation_shards (
        number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, evaluation TEXT NOT NULL,
        first INTEGER NOT NULL, items INTEGER NOT NULL, state TEXT NOT NULL, lease_id TEXT,
        worker_id TEXT, expires REAL, request TEXT, answers TEXT);
    CREATE INDEX shards_by_state ON evaluation_shards (state, expires);
    CREATE INDEX shards_by_evaluation ON evaluation_shards (evaluation, state);
    CREATE INDEX shards_by_lease ON evaluation_shards (lease_id);
    INSERT INTO evaluation_shards (id, evaluation, first, items, state)
        SELECT id || '-0', id, 0, (SELECT COUNT(*) FROM benchmark_items), 'waiting'
        FROM evaluations WHERE state = 'open';
    DROP TABLE earlier_evaluations;
    """,
    """
    ALTER TABLE trees ADD COLUMN time REAL NOT NULL DEFAULT 0;
    CREATE INDEX problems_by_id ON problems (id);
    """,
    """
    CREATE TABLE compute (
        session TEXT NOT NULL, role TEXT NOT NULL, worker_id TEXT NOT NULL,
        devices INTEGER NOT NULL, working REAL NOT NULL, waiting REAL NOT NULL,
        tokens INTEGER NOT NULL, age REAL NOT NULL, seen REAL NOT NULL,
        PRIMARY KEY (session, role)) WITHOUT ROWID;
    """,
    """
    CREATE TABLE records (
        number INTEGER PRIMARY KEY, step INTEGER NOT NULL, metrics TEXT,
        time REAL NOT NULL DEFAULT 0);
    CREATE TABLE tracker_positions (
        tracker TEXT PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID;
    INSERT INTO records (step) SELECT step FROM steps WHERE tracked = 1 ORDER BY step;
    INSERT INTO tracker_positions SELECT 'jsonl', COUNT(*) FROM records;
    """,
    """
    ALTER TABLE facts RENAME TO run_values;
    ALTER TABLE readers RENAME TO version_holds;
    ALTER TABLE trees RENAME COLUMN facts TO summary;
    ALTER TABLE workers RENAME COLUMN facts TO fields;
    """,
    """
    UPDATE benchmarks SET plan = json_remove(
            json_set(plan, '$.grader', json_extract(plan, '$.judge')), '$.judge')
        WHERE json_extract(NULLIF(plan, ''), '$.judge') IS NOT NULL;
    UPDATE evaluations SET plan = json_remove(
            json_set(plan, '$.grader', json_extract(plan, '$.judge')), '$.judge')
        WHERE json_extract(NULLIF(plan, ''), '$.judge') IS NOT NULL;
    ALTER TABLE evaluation_shards RENAME COLUMN answers TO responses;
    """,
)
