-- Objects of the names of those of PostgreSQL, which no statement may find.
CREATE SCHEMA evil;
CREATE TABLE evil.portfolios (x int);
CREATE TABLE evil.batchcore_runs (x int);
CREATE TABLE evil.batchcore_staged_portfolio_snapshots (x int);
CREATE TABLE evil.batchcore_staged_portfolios (x int);
CREATE TABLE evil.pg_locks (pid int);
CREATE TABLE evil.pg_stat_activity (pid int);
CREATE DOMAIN evil.uuid AS text;
CREATE DOMAIN evil.numeric AS text;
CREATE DOMAIN evil.date AS text;
CREATE DOMAIN evil.int8 AS text;
CREATE FUNCTION evil.raised() RETURNS int LANGUAGE plpgsql
    AS $$ BEGIN RAISE EXCEPTION 'called'; END $$;
CREATE FUNCTION evil.now() RETURNS timestamptz LANGUAGE sql
    AS 'SELECT NULL::timestamptz WHERE evil.raised() > 0';
CREATE FUNCTION evil.clock_timestamp() RETURNS timestamptz LANGUAGE sql
    AS 'SELECT NULL::timestamptz WHERE evil.raised() > 0';
CREATE FUNCTION evil.nextval(regclass) RETURNS bigint LANGUAGE sql
    AS 'SELECT evil.raised()::bigint';
CREATE FUNCTION evil.upper(text) RETURNS text LANGUAGE sql AS 'SELECT evil.raised()::text';
CREATE FUNCTION evil.btrim(text, text) RETURNS text LANGUAGE sql
    AS 'SELECT evil.raised()::text';
CREATE FUNCTION evil.set_config(text, text, boolean) RETURNS text LANGUAGE sql
    AS 'SELECT evil.raised()::text';
CREATE FUNCTION evil.to_char(timestamptz, text) RETURNS text LANGUAGE sql
    AS 'SELECT evil.raised()::text';
CREATE FUNCTION evil.same(pg_catalog.uuid, pg_catalog.uuid) RETURNS boolean LANGUAGE sql
    AS 'SELECT evil.raised() > 0';
CREATE OPERATOR evil.= (LEFTARG = pg_catalog.uuid, RIGHTARG = pg_catalog.uuid,
    FUNCTION = evil.same);
CREATE FUNCTION evil.same(text, text) RETURNS boolean LANGUAGE sql
    AS 'SELECT evil.raised() > 0';
CREATE OPERATOR evil.= (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.same);
CREATE OPERATOR evil.|| (LEFTARG = text, RIGHTARG = text, FUNCTION = pg_catalog.textcat)
