"""Triggers of a host, which do something when rows are written."""


def acts(
    body: str,
    *,
    when: str = "BEFORE INSERT OR UPDATE",
    table: str = "portfolio_snapshots",
    each: str = "ROW",
    name: str = "meddling",
    deferred: bool = False,
) -> str:
    """Return the statements that make a trigger."""
    kind, how = "", ""
    if deferred:
        kind, how = "CONSTRAINT ", "DEFERRABLE INITIALLY DEFERRED "
    return f"""
        CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql
        AS $$ BEGIN {body} END $$;
        CREATE {kind}TRIGGER {name} {when} ON {table} {how}
            FOR EACH {each} EXECUTE FUNCTION {name}();"""
