-- The users of a service that a group runs, and who may use a function. A name is free again after its user.
CREATE TABLE account (
    id BLOB PRIMARY KEY, name TEXT NOT NULL, admin INTEGER NOT NULL, created REAL NOT NULL, removed REAL
) WITHOUT ROWID;
CREATE UNIQUE INDEX account_name ON account (name) WHERE removed IS NULL;
CREATE TABLE membership (
    account BLOB NOT NULL, grp BLOB NOT NULL, PRIMARY KEY (account, grp)
) WITHOUT ROWID;
ALTER TABLE function ADD COLUMN grp BLOB;
CREATE INDEX task_group_owner ON task_group (owner);
