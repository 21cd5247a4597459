-- Under FORCE ROW LEVEL SECURITY the owner, too, sees rows through policies only, and
-- none names it. Where it is no superuser and lacks BYPASSRLS, the keys of
-- 0017_true_ancestors.sql were checked against no rows at all and stand as checked.
-- They are checked here with the owner let past the policies. A key that rows break
-- stands as unchecked and says so; it holds for whatever is written.
DO $$
DECLARE
    forced regclass[];
    target regclass;
    made record;
BEGIN
    SELECT coalesce(array_agg(oid), '{}') INTO forced FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relforcerowsecurity;
    FOREACH target IN ARRAY forced LOOP
        EXECUTE format('ALTER TABLE %s NO FORCE ROW LEVEL SECURITY', target);
    END LOOP;
    FOR made IN SELECT conrelid::regclass AS of, conname,
            replace(pg_get_constraintdef(oid), ' NOT VALID', '') AS rule FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace AND contype = 'f' AND cardinality(conkey) > 1
        ORDER BY conrelid, conname
    LOOP
        -- What stands as checked is not checked again.
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', made.of, made.conname);
        EXECUTE format('ALTER TABLE %s ADD CONSTRAINT %I %s NOT VALID', made.of, made.conname, made.rule);
        BEGIN
            EXECUTE format('ALTER TABLE %s VALIDATE CONSTRAINT %I', made.of, made.conname);
        EXCEPTION WHEN foreign_key_violation THEN
            RAISE WARNING 'rows of % name ancestors that are not their own; see constraint %',
                made.of, made.conname;
        END;
    END LOOP;
    FOREACH target IN ARRAY forced LOOP
        EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', target);
    END LOOP;
END $$;
