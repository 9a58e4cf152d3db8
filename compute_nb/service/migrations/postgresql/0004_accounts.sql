-- The users of a service that a group runs, and who may use a function. A name is free again after its user.
CREATE TABLE account (
    id uuid PRIMARY KEY, name text NOT NULL, admin boolean NOT NULL, created double precision NOT NULL,
    removed double precision
);
CREATE UNIQUE INDEX account_name ON account (name) WHERE removed IS NULL;
CREATE TABLE membership (account uuid NOT NULL, grp uuid NOT NULL, PRIMARY KEY (account, grp));
ALTER TABLE function ADD COLUMN grp uuid;
CREATE INDEX task_group_owner ON task_group (owner);
